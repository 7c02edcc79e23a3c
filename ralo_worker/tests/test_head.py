"""Chunks of the head: the same gradient, no logits of all tokens; heads that do more are told."""

import numpy as np
import pytest
import torch
from computing import gradient_over
from plain_gradient import plain_gradient
from small_models import random_tree, small_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Gemma2Config, Gemma2ForCausalLM, PhiConfig, PhiForCausalLM

from ralo_core import BuildContext
from ralo_core.config import RegularisationSettings, TrainerSettings
from ralo_worker.losses.clip import ClipLoss
from ralo_worker.losses.settings import ClipSettings
from ralo_worker.trainer.compute.head import own_head
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.compute.regularisation import Regulariser
from ralo_worker.trainer.layout.micro_batches import micro_batches
from ralo_worker.trainer.layout.packs import make_packs
from ralo_worker.trainer.layout.rows import make_rows

torch.set_num_threads(1)
WORDS, WIDTH = 30_000, 32
"""1 MiB of logits are eight predictors."""
LOSS = ClipLoss(ClipSettings(), BuildContext(role="trainer"))


@pytest.fixture(scope="module")
def model():
    return small_model(vocab_size=WORDS)


@pytest.fixture(scope="module")
def trees():
    rng = np.random.default_rng(3)
    return [random_tree(rng, leaves) for leaves in (1, 4, 6)]


def gradient_of(model, trees, chunk_mb, entropy=0.0, shared=10_000):
    policy = Policy(model, TrainerSettings(head_chunk_mb=chunk_mb))
    batches = micro_batches(
        list(make_packs(make_rows(trees, advantages(trees)), shared)), 10_000, 0
    )
    regulariser = Regulariser(settings=RegularisationSettings(entropy=entropy), loss=LOSS)
    return gradient_over(policy, LOSS, batches, regulariser=regulariser)


def advantages(trees):
    rng = np.random.default_rng(5)
    return [rng.normal(size=len(tree.leaves)).astype(np.float32) for tree in trees]


def assert_near(found, expected):
    for name, value in expected.items():
        assert (found[name] - value).norm() / value.norm() < 1e-5, name


class Largest(TorchDispatchMode):
    """Remembers the most rows of logits that any operation made."""

    rows = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        for each in made if isinstance(made, tuple | list) else [made]:
            # What is as wide as the model is a gradient of the head's weights.
            if torch.is_tensor(each) and each.shape[-1:] == (WORDS,) and each.shape[0] != WIDTH:
                self.rows = max(self.rows, each.numel() // WORDS)
        return made


@pytest.mark.parametrize("shared", [0, 10_000])
def test_chunks_change_nothing_but_the_logits_in_memory(model, trees, shared):
    """Predictors of branches, which several words follow, are among them."""
    expected, loss, _ = plain_gradient(model, trees, advantages(trees))
    with Largest() as all_at_once:
        whole = gradient_of(model, trees, 0, shared=shared)
    with Largest() as in_chunks:
        chunked = gradient_of(model, trees, 1, shared=shared)
    assert in_chunks.rows == 8
    assert all_at_once.rows > 40
    assert chunked.metrics == pytest.approx(whole.metrics, rel=1e-5)
    assert chunked.metrics["loss"] == pytest.approx(loss, rel=1e-5)
    assert_near(chunked.tensors, whole.tensors)
    assert_near(chunked.tensors, expected)


def test_the_bonus_for_entropy_goes_through_the_chunks(model, trees):
    plain, without = gradient_of(model, trees, 0, entropy=30.0), gradient_of(model, trees, 0)
    chunked = gradient_of(model, trees, 1, entropy=30.0)
    name = "model.embed_tokens.weight"
    assert (plain.tensors[name] - without.tensors[name]).norm() > 1e-2
    assert_near(chunked.tensors, plain.tensors)


def test_nothing_is_computed_twice_where_one_chunk_holds_it_all(trees):
    def calls(words, chunk_mb):
        model, counts = small_model(vocab_size=words), []
        policy = Policy(model, TrainerSettings(head_chunk_mb=chunk_mb))
        model.lm_head.register_forward_hook(lambda *_: counts.append(1))
        cut = micro_batches(list(make_packs(make_rows(trees, advantages(trees)), 0)), 10_000, 0)
        gradient_over(policy, LOSS, cut)
        return len(counts)

    assert calls(50, 1) == calls(WORDS, 0) == 1
    assert calls(WORDS, 1) > 10


def gemma(cap):
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, final_logit_softcapping=cap,
    )  # fmt: skip
    return Gemma2ForCausalLM(config).eval()


def test_capped_logits_are_taken_from_the_model_itself(trees, caplog):
    """The cap changes the third digit of these logits only: it would not be noticed from them."""
    capped, free = gemma(1.0), gemma(None)
    assert own_head(free) is not None
    assert not caplog.records
    assert own_head(capped) is None
    assert "head_chunk_mb" in caplog.text
    found = gradient_of(capped, trees, 1, shared=0)
    assert_near(found.tensors, plain_gradient(capped, trees, advantages(trees))[0])
    assert own_head(gemma(30.0)) is None, "these logits are far below 30"


def test_a_head_with_a_bias_is_a_head(trees):
    torch.manual_seed(0)
    config = PhiConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4,
    )  # fmt: skip
    model = PhiForCausalLM(config).eval()
    torch.nn.init.normal_(model.lm_head.bias)
    assert own_head(model) is model.lm_head
    found = gradient_of(model, trees, 1, shared=0)
    assert_near(found.tensors, plain_gradient(model, trees, advantages(trees))[0])

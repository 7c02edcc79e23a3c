"""Our losses against TRL's on random micro-batches: values and gradients."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from ralo_core import BuildContext, LossBatch
from ralo_core.config import RegularisationSettings
from ralo_grpo.cispo import CispoLoss, CispoSettings
from ralo_grpo.gspo import GspoLoss, GspoSettings
from ralo_worker.losses.clip import ClipLoss
from ralo_worker.losses.settings import ClipSettings
from ralo_worker.trainer.compute.regularisation import Regulariser
from ralo_worker.trainer.compute.token_means import TokenMeans

trl = pytest.importorskip("trl.trainer.grpo_trainer", reason="TRL is not installed")
CONTEXT = BuildContext(role="trainer")
ROWS, TOKENS, LONGEST = 6, 9, 20


def micro_batch(seed, spread):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, TOKENS + 1, (ROWS, 1), generator=generator)
    mask = torch.arange(TOKENS) < lengths
    behaviour = -3 * torch.rand(ROWS, TOKENS, generator=generator)
    noise = spread * torch.randn(ROWS, TOKENS, generator=generator)
    advantages = torch.randn(ROWS, 1, generator=generator)
    batch = LossBatch(
        behaviour_logprobs=behaviour.masked_fill(~mask, 0.0),
        advantages=advantages.expand(ROWS, TOKENS) * mask,
        mask=mask,
        staleness=torch.zeros(ROWS, dtype=torch.int64),
    )
    return (behaviour + noise).requires_grad_(), batch


def theirs(policy, batch, reference=None, **options):
    """Return loss and gradient of TRL's trainer, whose other parts are switched off."""
    chosen = {
        "beta": 0.0,
        "loss_type": "grpo", "epsilon_low": 0.2, "epsilon_high": 0.2,
        "importance_sampling_level": "token", "args": SimpleNamespace(delta=None), **options,
    }  # fmt: skip
    stub = SimpleNamespace(
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False,
        aux_loss_enabled=False, _entropy_bonus_enabled=False, max_completion_length=LONGEST,
        accelerator=SimpleNamespace(
            num_processes=1, gather=lambda value: value, reduce=lambda value, reduction: value
        ),
        _metrics=defaultdict(lambda: defaultdict(list)), model=SimpleNamespace(training=False),
        _get_per_token_logps_and_entropies=lambda *_, **__: (policy, policy.detach(), None),
        **chosen,
    )  # fmt: skip
    ids = torch.zeros(ROWS, TOKENS, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1] + 1,
        "completion_ids": ids, "completion_mask": batch.mask.long(),
        "advantages": batch.advantages[:, 0], "old_per_token_logps": batch.behaviour_logprobs,
        "num_items_in_batch": batch.mask.sum(), "ref_per_token_logps": reference,
    }  # fmt: skip
    loss = trl.GRPOTrainer._compute_loss(stub, stub.model, inputs)
    (gradient,) = torch.autograd.grad(loss, policy)
    return loss.detach(), gradient


def clip(**settings):
    return ClipLoss(ClipSettings(**{"clip_high": 0.2, **settings}), CONTEXT)


CASES = {
    "grpo": (clip(average="sequence"), {}),
    "dr_grpo": (clip(average="constant", constant_tokens=LONGEST), {"loss_type": "dr_grpo"}),
    "dapo": (clip(clip_high=0.28), {"loss_type": "dapo", "epsilon_high": 0.28}),
    "dual clip": (
        clip(average="sequence", dual_clip=1.5),
        {"args": SimpleNamespace(delta=1.5)},
    ),
    "gspo": (
        GspoLoss(GspoSettings(clip_low=0.1, clip_high=0.15), CONTEXT),
        {"importance_sampling_level": "sequence", "epsilon_low": 0.1, "epsilon_high": 0.15},
    ),
    "cispo": (
        CispoLoss(CispoSettings(clip_high=0.5), CONTEXT),
        {"loss_type": "cispo", "epsilon_high": 1.5},
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(5))
def test_values_and_gradients_are_those_of_trl(name, seed):
    ours, options = CASES[name]
    policy, batch = micro_batch(seed, spread=0.4)
    total, normaliser, metrics = ours.loss(policy, batch)
    assert metrics["clip_fraction"] > 0, "nothing was clipped: the case shows little"
    (gradient,) = torch.autograd.grad(total / normaliser, policy)
    expected, slope = theirs(policy, batch, **options)
    torch.testing.assert_close((total / normaliser).detach(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["grpo", "dapo", "gspo", "cispo"])
@pytest.mark.parametrize("seed", range(5))
def test_the_kl_to_a_reference_is_that_of_trl(name, seed):
    ours, options = CASES[name]
    policy, batch = micro_batch(seed, spread=0.4)
    generator = torch.Generator().manual_seed(seed)
    reference = policy.detach() + 0.5 * torch.randn(ROWS, TOKENS, generator=generator)
    regulariser = Regulariser(
        settings=RegularisationSettings(kl=0.3), loss=ours, reference=lambda _: (reference, None)
    )
    total, normaliser, _ = ours.loss(policy, batch)
    rows = SimpleNamespace(loss_batch=batch)
    term = regulariser.term(policy, torch.zeros(ROWS, TOKENS), rows, TokenMeans())
    mean = (total + term) / normaliser
    (gradient,) = torch.autograd.grad(mean, policy)
    options = {"args": SimpleNamespace(delta=None, use_bias_correction_kl=False), **options}
    expected, slope = theirs(policy, batch, reference, **options, beta=0.3)
    torch.testing.assert_close(mean.detach(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_rows_left_out_count_as_the_loss_itself_counts_them(name):
    ours, _ = CASES[name]
    policy, batch = micro_batch(9, spread=0.1)
    _, normaliser, _ = ours.loss(policy, batch)
    assert ours.normaliser(batch.mask.sum(1).tolist()) == normaliser

"""Computing in bfloat16: near the gradient of float32, as long as it is added up in float32."""

import numpy as np
import pytest
import torch
from computing import gradient_over, parallel_of
from small_models import random_tree, small_model

from ralo_core import BuildContext
from ralo_core.config import TrainerSettings
from ralo_worker.losses.policy_gradient import PolicyGradientLoss
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.layout.micro_batches import micro_batches
from ralo_worker.trainer.layout.packs import make_packs
from ralo_worker.trainer.layout.rows import make_rows

torch.set_num_threads(1)
LOSS = PolicyGradientLoss(None, BuildContext(role="trainer"))


@pytest.fixture(scope="module")
def batches():
    """Many micro-batches, of a row or a few that share a prefix."""
    trees = [random_tree(np.random.default_rng(seed), 6) for seed in range(30)]
    rng = np.random.default_rng(5)
    advantages = [rng.normal(size=len(tree.leaves)).astype(np.float32) for tree in trees]
    found = list(micro_batches(list(make_packs(make_rows(trees, advantages), 20)), 1, 0))
    assert len(found) > 50
    assert any(batch.attention is not None for batch in found)
    return found


def policy_of(precision, **settings):
    return Policy(small_model(), TrainerSettings(precision=precision, **settings))


def flat(tensors):
    return torch.cat([tensors[name].flatten().float() for name in sorted(tensors)])


def error(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("share", [0, 1])
def test_the_gradient_is_near_that_of_float32(batches, share):
    exact = gradient_over(policy_of("float32"), LOSS, batches)
    policy = policy_of("bfloat16", checkpoint_layers=share)
    found = gradient_over(policy, LOSS, batches)
    assert {value.dtype for value in found.tensors.values()} == {torch.float32}
    assert torch.cosine_similarity(flat(found.tensors), flat(exact.tensors), 0) > 0.999
    assert 1e-4 < error(flat(found.tensors), flat(exact.tensors)) < 0.03, "it was in bfloat16"
    assert found.metrics["entropy"] == pytest.approx(exact.metrics["entropy"], rel=1e-3)


def test_adding_up_in_bfloat16_would_be_worse(batches):
    exact = gradient_over(policy_of("float32"), LOSS, batches)
    policy, weight, coarse = policy_of("bfloat16"), 0.0, None
    objective = parallel_of(policy, LOSS).objective
    for batch in batches:
        weight += objective.accumulate([batch]).normaliser
        part = flat(dict(objective.gradients.items())).bfloat16()
        coarse = part if coarse is None else coarse + part
    ours = flat(gradient_over(policy, LOSS, batches).tensors)
    expected = flat(exact.tensors)
    assert error(coarse.float() / weight, expected) > 2 * error(ours, expected)


def test_layers_compute_in_bfloat16_and_the_softmax_in_float32(batches):
    policy, types = policy_of("bfloat16"), set()
    policy.model.model.layers[0].mlp.register_forward_hook(
        lambda _module, _inputs, output: types.add(output.dtype)
    )
    logprobs, entropy = policy(batches[0])
    assert types == {torch.bfloat16}
    assert logprobs.dtype == entropy.dtype == torch.float32
    exact, _ = policy_of("float32")(batches[0])
    assert torch.isfinite(logprobs).all()
    assert not torch.equal(logprobs, exact)

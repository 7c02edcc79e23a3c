"""Gradient sums in the parameters and in the host's memory: the same sums, tied parameters once."""

import copy

import numpy as np
import pytest
import torch
from plain_gradient import plain_gradient
from small_models import random_tree, small_model

from ralo_core import BuildContext
from ralo_worker.losses.clip import ClipLoss
from ralo_worker.losses.settings import ClipSettings
from ralo_worker.trainer.compute.gradient import accumulate, divided
from ralo_worker.trainer.compute.gradient_sums import GradientSums, OffloadedSums, gradient_sums
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.layout.micro_batches import micro_batches
from ralo_worker.trainer.layout.packs import make_packs
from ralo_worker.trainer.layout.rows import make_rows

torch.set_num_threads(1)
LOSS = ClipLoss(ClipSettings(), BuildContext(role="trainer"))


@pytest.fixture(scope="module")
def trees():
    return [random_tree(np.random.default_rng(3), leaves) for leaves in (1, 4, 6)]


@pytest.fixture(scope="module")
def advantages(trees):
    return [np.linspace(-1, 1, len(tree.leaves), dtype=np.float32) for tree in trees]


@pytest.fixture(scope="module")
def batches(trees, advantages):
    """Several: the second one is added to the first."""
    cut = micro_batches(list(make_packs(make_rows(trees, advantages), 0)), 40, 0)
    found = list(cut)
    assert len(found) > 2
    return found


@pytest.mark.parametrize("offloaded", [False, True])
def test_sums_divided_are_the_gradient(trees, advantages, batches, offloaded):
    policy = Policy(small_model())
    gradients = gradient_sums(policy, offloaded)
    for _ in range(2):  # the second batch knows nothing of the first
        sums = accumulate(policy, LOSS, batches, {}, None)
        assert (policy.model.lm_head.weight.grad is None) == offloaded
        found = divided(gradients, sums)
        expected, _, _ = plain_gradient(policy.model, trees, advantages)
        assert found.tensors.keys() == expected.keys(), "tied weights are there once"
        for name, value in expected.items():
            assert (found.tensors[name] - value).norm() / value.norm() < 1e-5, name


@pytest.mark.parametrize("offloaded", [False, True])
def test_what_was_read_stays_as_it_is_when_the_next_batch_comes(batches, offloaded):
    """It may still be on its way to the server."""
    policy = Policy(small_model())
    gradients = gradient_sums(policy, offloaded)
    accumulate(policy, LOSS, batches, {}, None)
    first = dict(gradients.items())
    before = copy.deepcopy(first)
    gradients.clear()
    accumulate(policy, LOSS, batches[:1], {}, None)
    for name, value in before.items():
        assert torch.equal(first[name], value), name


@pytest.mark.parametrize("offloaded", [False, True])
def test_the_mean_is_made_in_place(batches, offloaded):
    policy = Policy(small_model())
    gradients = gradient_sums(policy, offloaded)
    sums = accumulate(policy, LOSS, batches, {}, None)
    memory = {name: total.data_ptr() for name, total in gradients.items()}
    found = divided(gradients, sums).tensors
    assert {name: value.data_ptr() for name, value in found.items()} == memory


@pytest.mark.parametrize("kind", [GradientSums, OffloadedSums])
def test_what_no_backward_pass_reached_is_zero_and_what_is_frozen_is_not_there(batches, kind):
    model = small_model()
    model.model.layers[0].requires_grad_(False)
    model.unused = torch.nn.Parameter(torch.ones(3))
    policy = Policy(model)
    gradients = kind(policy)
    accumulate(policy, LOSS, batches[:1], {}, None)
    found = dict(gradients.items())
    assert found["unused"].tolist() == [0, 0, 0]
    assert not any(name.startswith("model.layers.0.") for name in found)
    assert found["model.norm.weight"].abs().sum() > 0
    gradients.clear()
    assert all(not value.any() for _, value in gradients.items())


def test_a_gradient_is_moved_while_the_backward_pass_goes_on(batches):
    """When the first layer's turn comes, those behind it have left the device."""
    policy, seen = Policy(small_model()), []
    gradients = OffloadedSums(policy)
    first, last = policy.model.model.layers
    first.mlp.up_proj.weight.register_hook(
        lambda _: seen.extend(parameter.grad is None for parameter in last.parameters())
    )
    accumulate(policy, LOSS, batches[:1], {}, None)
    assert seen
    assert all(seen)
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert dict(gradients.items())["model.layers.1.mlp.up_proj.weight"].any()

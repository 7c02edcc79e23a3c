"""Gradient sums in the parameters and in the host's memory: the same sums, tied parameters once."""

import copy

import numpy as np
import pytest
import torch
from computing import parallel_of
from plain_gradient import plain_gradient
from small_models import random_tree, small_model

from ralo_core import BuildContext
from ralo_worker.losses.clip import ClipLoss
from ralo_worker.losses.settings import ClipSettings
from ralo_worker.trainer.compute.gradient_sums import GradientSums, OffloadedSums
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.layout.micro_batches import micro_batches
from ralo_worker.trainer.layout.packs import make_packs
from ralo_worker.trainer.layout.rows import make_rows
from ralo_worker.trainer.parallel.data_parallel import AccumulatedGradient

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


def accumulate(parallel, batches):
    """What a trainer has of a batch of these micro-batches before it is divided."""
    totals = parallel.objective.accumulate(batches)
    return AccumulatedGradient(totals=totals, weight=totals.normaliser)


@pytest.mark.parametrize("offloaded", [False, True])
def test_sums_divided_are_the_gradient(trees, advantages, batches, offloaded):
    policy = Policy(small_model())
    parallel = parallel_of(policy, LOSS, offloaded=offloaded)
    for _ in range(2):  # the second batch knows nothing of the first
        accumulated = accumulate(parallel, batches)
        assert (policy.model.lm_head.weight.grad is None) == offloaded
        found = parallel.reduce(accumulated)
        expected, _, _ = plain_gradient(policy.model, trees, advantages)
        assert found.tensors.keys() == expected.keys(), "tied weights are there once"
        for name, value in expected.items():
            assert (found.tensors[name] - value).norm() / value.norm() < 1e-5, name


@pytest.mark.parametrize("offloaded", [False, True])
def test_what_was_read_stays_as_it_is_when_the_next_batch_comes(batches, offloaded):
    """It may still be on its way to the server."""
    objective = parallel_of(Policy(small_model()), LOSS, offloaded=offloaded).objective
    objective.accumulate(batches)
    first = dict(objective.gradients.items())
    before = copy.deepcopy(first)
    objective.accumulate(batches[:1])
    for name, value in before.items():
        assert torch.equal(first[name], value), name


@pytest.mark.parametrize("offloaded", [False, True])
def test_the_mean_is_made_in_place(batches, offloaded):
    parallel = parallel_of(Policy(small_model()), LOSS, offloaded=offloaded)
    accumulated = accumulate(parallel, batches)
    memory = {name: total.data_ptr() for name, total in parallel.objective.gradients.items()}
    found = parallel.reduce(accumulated).tensors
    assert {name: value.data_ptr() for name, value in found.items()} == memory


@pytest.mark.parametrize("offloaded", [False, True])
def test_what_no_backward_pass_reached_is_zero_and_what_is_frozen_is_not_there(batches, offloaded):
    model = small_model()
    model.model.layers[0].requires_grad_(False)
    model.unused = torch.nn.Parameter(torch.ones(3))
    objective = parallel_of(Policy(model), LOSS, offloaded=offloaded).objective
    gradients = objective.gradients
    assert isinstance(gradients, OffloadedSums if offloaded else GradientSums)
    objective.accumulate(batches[:1])
    found = dict(gradients.items())
    assert found["unused"].tolist() == [0, 0, 0]
    assert not any(name.startswith("model.layers.0.") for name in found)
    assert found["model.norm.weight"].abs().sum() > 0
    gradients.clear()
    assert all(not value.any() for _, value in gradients.items())


def test_a_gradient_is_moved_while_the_backward_pass_goes_on(batches):
    """When the first layer's turn comes, those behind it have left the device."""
    policy, seen = Policy(small_model()), []
    objective = parallel_of(policy, LOSS, offloaded=True).objective
    first, last = policy.model.model.layers
    first.mlp.up_proj.weight.register_hook(
        lambda _: seen.extend(parameter.grad is None for parameter in last.parameters())
    )
    objective.accumulate(batches[:1])
    assert seen
    assert all(seen)
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert dict(objective.gradients.items())["model.layers.1.mlp.up_proj.weight"].any()

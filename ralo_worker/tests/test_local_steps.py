"""The way that a trainer goes in local steps is that of plain torch, and it comes back."""

import threading

import numpy as np
import pytest
import torch
from ranks_at_work import some_trees
from small_models import small_model

from ralo_core.config import LocalStepsSettings, resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.parallel.data_parallel import open_data_parallel
from ralo_worker.trainer.parallel.local_steps import LocalSteps
from ralo_worker.trainer.parallel.stop_check import Halted, StopCheck

torch.set_num_threads(1)

REGISTRY = Registry(PluginHost(strict=True).load())
LEAVES = (2, 7, 9, 3, 4)


def plain_steps(model, stop=None):
    config = resolve([set_layer([])], REGISTRY)
    return open_data_parallel(config, Policy(model), stop=stop)


def local_steps(model, stop=None, **settings):
    return LocalSteps(plain_steps(model, stop), LocalStepsSettings(**{"lr": 0.01, **settings}))


def weights_of(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def by_hand(model, batches, *, steps, lr=0.01, weight_decay=0.0, max_grad_norm=1.0):
    """The ways of all batches, one optimizer throughout; gradients as `DataParallel` has them."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    named, start = dict(model.named_parameters()), weights_of(model)
    plain, ways, weights = plain_steps(model), [], []
    for trees in batches:
        weights.append(0.0)
        for part in np.array_split(np.arange(len(trees)), steps):
            gradient = plain.gradient([trees[index] for index in part], 0)
            weights[-1] += gradient.weight
            for name, value in gradient.tensors.items():
                named[name].grad = value.clone()
            if max_grad_norm:
                torch.nn.utils.clip_grad_norm_(named.values(), max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        ways.append({name: start[name] - value for name, value in weights_of(model).items()})
        with torch.no_grad():
            for name, value in named.items():
                value.copy_(start[name])
    return ways, weights


@pytest.mark.parametrize(
    "options",
    [{"steps": 1}, {"steps": 2}, {"steps": 2, "weight_decay": 0.5},
     {"steps": 2, "max_grad_norm": 1e-9}, {"steps": 2, "max_grad_norm": 0.0, "lr": 0.1}],
    ids=str,
)  # fmt: skip
def test_the_way_is_that_of_adamw_and_its_moments_go_on(options):
    trees = some_trees(LEAVES[:4])
    batches = [trees, trees[::-1]]
    expected, weights = by_hand(small_model(), batches, **options)
    model = small_model()
    before, steps = weights_of(model), local_steps(model, **options)
    for batch, way, weight in zip(batches, expected, weights, strict=True):
        found = steps.gradient(batch, 0)
        assert found.weight == pytest.approx(weight)
        assert found.tensors.keys() == way.keys()
        for name, value in way.items():
            torch.testing.assert_close(found.tensors[name], value, rtol=1e-4, atol=1e-7)
        for name, value in weights_of(model).items():
            assert torch.equal(value, before[name]), "the weights are the version's again"


def test_a_part_without_advantage_takes_no_step_and_a_batch_without_any_gives_nothing():
    trees = some_trees(LEAVES[:2])
    equal = [tree.with_rewards({}, np.ones(len(tree.leaves), np.float32)) for tree in trees]
    assert local_steps(small_model(), steps=2).gradient(equal, 0) is None
    mixed = local_steps(small_model(), steps=2).gradient([*trees, *equal], 0)
    alone = local_steps(small_model(), steps=1).gradient(trees, 0)
    for name, value in alone.tensors.items():
        assert torch.equal(mixed.tensors[name], value)


def test_metrics_are_means_over_all_parts():
    found = local_steps(small_model(), steps=2).gradient(some_trees(LEAVES), 3)
    assert found.metrics["staleness_share_2_4"] == 1.0
    assert "loss" in found.metrics


def test_who_is_told_to_stop_on_the_way_comes_back():
    stopping = threading.Event()

    class Second(StopCheck):
        def check(self):
            if weights_of(model)["model.norm.weight"].ne(before["model.norm.weight"]).any():
                stopping.set()  # the first step was taken
            super().check()

    model = small_model()
    before = weights_of(model)
    with pytest.raises(Halted):
        local_steps(model, Second(stopping), steps=2).gradient(some_trees(LEAVES), 0)
    assert stopping.is_set()
    for name, value in weights_of(model).items():
        assert torch.equal(value, before[name])

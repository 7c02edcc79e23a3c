"""From trees to a gradient as the config says: what is set reaches the computation."""

import copy
from contextlib import contextmanager

import attrs
import numpy as np
import pytest
import torch
from group_in_threads import on_every_rank
from plain_gradient import plain_gradient
from small_models import random_tree, small_model

from ralo_core import BuildContext
from ralo_core.config import resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.parallel.data_parallel import open_data_parallel
from ralo_worker.trainer.parallel.group import Group

torch.set_num_threads(1)

REGISTRY = Registry(PluginHost(strict=True).load())


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def trees():
    rng = np.random.default_rng(3)
    grown = [random_tree(rng, leaves) for leaves in (2, 7, 9)]
    return [
        tree.with_rewards({}, rng.integers(0, 2, len(tree.leaves)).astype(np.float32))
        for tree in grown
    ]


def computation(model, *settings, reference=None, group=None):
    config = resolve([set_layer(settings)], REGISTRY)
    policies = Policy(model), reference and Policy(reference)
    return open_data_parallel(config, *policies, group=group)


@contextmanager
def counted(model):
    """Collects the number of tokens of every forward pass, padding included."""
    counts = []
    hook = model.model.embed_tokens.register_forward_hook(
        lambda _, arguments, __: counts.append(arguments[0].numel())
    )
    yield counts
    hook.remove()


def computed(model, trees, *settings):
    with counted(model) as tokens:
        return computation(model, *settings).gradient(trees, 0), sum(tokens)


def assert_same(found, expected):
    for name, value in expected.tensors.items():
        torch.testing.assert_close(found.tensors[name], value, rtol=1e-4, atol=1e-6)
    assert found.weight == pytest.approx(expected.weight)


def test_trees_are_laid_out_by_the_settings_and_the_gradient_is_the_formula(model, trees):
    apart, most = computed(model, trees, "trainer.shared_tokens=0")
    advantage = resolve([], REGISTRY).build("advantage", BuildContext(role="trainer"))
    expected, _, count = plain_gradient(model, trees, advantage.estimate(trees))
    assert apart.weight == count
    assert apart.tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert (apart.tensors[name] - value).norm() / value.norm() < 1e-5, name
    shared, fewer = computed(model, trees)
    assert_same(shared, apart)
    assert fewer < 0.8 * most
    in_pieces, _ = computed(model, trees, "trainer.microbatch_tokens=40")
    assert_same(in_pieces, apart)


def test_a_model_with_windows_gets_every_row_by_itself(trees):
    windows = small_model(use_sliding_window=True, sliding_window=4, max_window_layers=0)
    assert windows.config.layer_types[0] == "sliding_attention"
    _, tokens = computed(windows, trees)
    assert tokens == computed(windows, trees, "trainer.shared_tokens=0")[1]


def test_without_any_advantage_there_is_no_gradient_unless_a_term_is_added(model, trees):
    equal = [tree.with_rewards({}, np.ones(len(tree.leaves), np.float32)) for tree in trees]
    assert computation(model).gradient(equal, 0) is None
    assert computation(model, "regularisation.entropy=0.01").gradient(equal, 0) is not None


def test_corrections_and_reference_of_the_config_are_used(model, trees):
    settings = ("loss.use=policy_gradient", "correction.pipeline=['tis', 'm2po']")
    found = computation(model, *settings, "regularisation.kl=0.1", reference=small_model(1))
    metrics = found.gradient(trees, 0).metrics
    assert {"masked_fraction/tis", "masked_fraction/m2po", "reference_kl"} <= metrics.keys()
    assert metrics["reference_kl"] > 0


def test_a_batch_is_surveyed_only_where_a_correction_asks(model, trees):
    for pipeline, passes in (("[]", 1), ("['tis']", 1), ("['tis', 'm2po']", 2)):
        asked = computation(model, f"correction.pipeline={pipeline}")
        with counted(model) as tokens:
            asked.gradient(trees, 0)
        assert len(tokens) == passes, pipeline


@pytest.mark.parametrize("pipeline", ["[]", "['m2po']"])
def test_sums_of_ranks_are_the_batch(trees, pipeline):
    """Three ranks in threads: the sums of their gradients are added, everything else is merged."""
    settings = (f"correction.pipeline={pipeline}", "correction.m2po.tau=0.3",
                "regularisation.entropy=0.1", "trainer.shared_tokens=20")  # fmt: skip
    whole = computation(small_model(), *settings).gradient(trees, 2)
    models = [small_model() for _ in range(3)]  # torch's seed is one for all threads

    def rank(channel):
        group = Group(rank=channel.rank, size=channel.size, control=channel)
        one = computation(models[channel.rank], *settings, group=group)
        return one.accumulate(trees, 2), dict(one.objective.gradients.items())

    found = on_every_rank(3, rank)
    for accumulated, _ in found:
        assert accumulated.totals.mean_metrics() == pytest.approx(whole.metrics, rel=1e-4)
        assert accumulated.weight == whole.weight
    for name, value in whole.tensors.items():
        added = sum(part[name] for _, part in found)
        torch.testing.assert_close(added / whole.weight, value, rtol=1e-4, atol=1e-6)


def test_staleness_is_measured_from_the_version_that_is_trained(model, trees):
    metrics = computation(model).gradient(trees, 3).metrics
    assert metrics["staleness_share_2_4"] == 1.0, "all trees are of version 0"


def placed(trees, reverse):
    """Return copies of `trees` at rising, or falling, addresses: where the allocator puts them is
    not ours to say, but which of them goes to which place is."""
    places = sorted((object.__new__(type(tree)) for tree in trees), key=id, reverse=reverse)
    for place, tree in zip(places, trees, strict=True):
        for field in attrs.fields(type(tree)):
            object.__setattr__(place, field.name, copy.deepcopy(getattr(tree, field.name)))
    return tuple(places)


def test_every_rank_makes_the_same_plan_wherever_its_trees_lie_in_memory(model, trees):
    """Ranks that split different plans would compute parts of a batch twice and others never."""
    rising, falling = placed(trees[1:], reverse=False), placed(trees[1:], reverse=True)
    assert id(rising[0]) < id(rising[1])
    assert id(falling[0]) > id(falling[1])
    plans = [
        computation(model, "trainer.shared_tokens=30").planner.plan(some)
        for some in (rising, falling)
    ]
    for pack, other in zip(*(plan.packs for plan in plans), strict=True):
        np.testing.assert_array_equal(pack.tokens, other.tokens)

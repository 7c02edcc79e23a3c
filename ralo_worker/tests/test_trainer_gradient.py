"""The trainer's gradient equals a straightforward single-process implementation."""

import numpy as np
import pytest
import torch
from computing import gradient_over, parallel_of
from hypothesis import given
from hypothesis import strategies as st
from plain_gradient import plain_gradient
from small_models import one_batch, random_tree, small_model

from ralo_core import PROMPT, BuildContext, TreeBuilder
from ralo_worker.losses.clip import ClipLoss
from ralo_worker.losses.settings import ClipSettings
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.layout.micro_batches import micro_batches
from ralo_worker.trainer.layout.packs import make_packs
from ralo_worker.trainer.layout.rows import make_rows, without_zeros

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.mark.parametrize("max_tokens", [1, 40, 10_000])
@pytest.mark.parametrize("shared", [0, 25, 10_000])
def test_gradient_equals_the_formula_however_the_batch_is_cut(model, max_tokens, shared):
    rng = np.random.default_rng(3)
    trees = [random_tree(rng, leaves) for leaves in (1, 4, 6)]
    advantages = [rng.normal(size=len(tree.leaves)).astype(np.float32) for tree in trees]
    expected, loss, count = plain_gradient(model, trees, advantages)
    objective = ClipLoss(ClipSettings(), BuildContext(role="trainer"))
    packs = list(make_packs(make_rows(trees, advantages), shared))
    cut = micro_batches(packs, max_tokens, 0)
    gradient = gradient_over(Policy(model), objective, cut)
    assert gradient.weight == count
    assert gradient.metrics["loss"] == pytest.approx(loss, rel=1e-5)
    assert gradient.tensors.keys() == expected.keys()
    for name, value in expected.items():
        error = (gradient.tensors[name] - value).norm() / value.norm()
        assert error < 1e-5, name


@pytest.mark.parametrize("microbatch_tokens", [1, 40, 10_000])
@pytest.mark.parametrize("shared_tokens", [0, 25, 10_000])
def test_the_whole_way_from_trees_to_a_gradient_is_the_formula(
    model, microbatch_tokens, shared_tokens
):
    """Leaves without advantage are among them: those are not computed."""
    rng = np.random.default_rng(3)
    trees = [random_tree(rng, leaves) for leaves in (1, 4, 6)]
    advantages = [rng.normal(size=len(tree.leaves)).astype(np.float32) for tree in trees]
    advantages[1][:2] = 0.0
    expected, _, count = plain_gradient(model, trees, advantages)
    way = parallel_of(
        Policy(model), ClipLoss(ClipSettings(), BuildContext(role="trainer")),
        advantages=advantages, microbatch_tokens=microbatch_tokens,
        shared_tokens=shared_tokens, pair_cost=0.01,
    )  # fmt: skip
    found = way.gradient(trees, 0)
    assert found.weight == count
    assert found.tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert (found.tensors[name] - value).norm() / value.norm() < 1e-5, name


def test_rows_without_advantage_may_be_left_out(model):
    rng = np.random.default_rng(5)
    trees = [random_tree(rng, 4) for _ in range(2)]
    advantages = [np.asarray([1, 0, -1, 0], np.float32), np.zeros(4, np.float32)]
    objective = ClipLoss(ClipSettings(), BuildContext(role="trainer"))
    rows = make_rows(trees, advantages)
    every = gradient_over(Policy(model), objective, one_batch(rows))
    kept, left_out = without_zeros(rows, objective)
    assert [float(abs(row.advantages).max()) for row in kept] == [1, 1]
    fewer = gradient_over(Policy(model), objective, one_batch(kept), left_out)
    assert fewer.weight == every.weight
    for name, value in every.tensors.items():
        torch.testing.assert_close(fewer.tensors[name], value, rtol=1e-4, atol=1e-7)


def test_corrections_weigh_one_after_the_other(model):
    class Weigh:
        def __init__(self, factor):
            self.factor = factor

        def weigh(self, log_ratio, batch):
            return torch.full_like(log_ratio, self.factor)

    tree = random_tree(np.random.default_rng(6), 4)
    rows = make_rows([tree], [np.asarray([1, 2, -1, 0.5], np.float32)])
    objective = ClipLoss(ClipSettings(), BuildContext(role="trainer"))
    plain = gradient_over(Policy(model), objective, one_batch(rows))
    corrections = {"half": Weigh(0.5), "three": Weigh(3.0)}
    weighed = gradient_over(Policy(model), objective, one_batch(rows), corrections=corrections)
    assert weighed.weight == plain.weight
    for name, value in plain.tensors.items():
        torch.testing.assert_close(weighed.tensors[name], 1.5 * value, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("max_tokens", [1, 10_000])
def test_the_share_of_tokens_that_a_correction_masks_is_logged(model, max_tokens):
    class ButTheFirst:
        def weigh(self, log_ratio, batch):
            weights = torch.full_like(log_ratio, 0.3)
            weights[:, 0] = 0.0
            return weights

    trees = [random_tree(np.random.default_rng(6), 4)]
    rows = make_rows(trees, [np.ones(4, np.float32)])
    objective = ClipLoss(ClipSettings(), BuildContext(role="trainer"))
    cut = micro_batches(list(make_packs(rows, 0)), max_tokens, 0)
    metrics = gradient_over(
        Policy(model), objective, cut, corrections={"but": ButTheFirst()}
    ).metrics
    tokens = sum(len(row.logprobs) for row in rows)
    assert metrics["masked_fraction/but"] == pytest.approx(len(rows) / tokens)


@pytest.mark.parametrize("shared", [0, 10_000])
def test_policy_logprobs_do_not_depend_on_padding_and_company(model, shared):
    rng = np.random.default_rng(4)
    trees = [random_tree(rng, 5) for _ in range(3)]
    rows = make_rows(trees, [np.ones(5, np.float32)] * 3)
    packs = list(make_packs(rows, shared))
    (together,) = micro_batches(packs, 10_000, 0)
    values = Policy(model)(together)[0]
    ordered = [row for pack in sorted(packs, key=lambda p: len(p.tokens)) for row in pack.rows]
    for index, row in enumerate(ordered):
        (alone,) = one_batch([row])
        mask = together.loss_batch.mask[index]
        expected = Policy(model)(alone)[0][alone.loss_batch.mask]
        torch.testing.assert_close(values[index][mask], expected, rtol=1e-4, atol=1e-5)


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_a_pack_holds_every_token_once_and_each_sees_its_own_path(seed, limit):
    tree = random_tree(np.random.default_rng(seed), 7)
    rows = make_rows([tree], [np.ones(7, np.float32)])
    packs = list(make_packs(rows, limit))
    assert sorted(row.path for pack in packs for row in pack.rows) == sorted(r.path for r in rows)
    for pack in packs:
        nodes = {node for row in pack.rows for node in row.path}
        size = len(tree.prompt) + sum(len(tree.tokens[tree.segment(node)]) for node in nodes)
        assert len(pack.tokens) == size
        assert size <= limit or len(pack.rows) == 1
        seen = pack.attention()
        for row, places, predictors in zip(pack.rows, pack.places, pack.predictors, strict=True):
            path = [*range(len(tree.prompt)), *places]
            response = np.concatenate([tree.tokens[tree.segment(node)] for node in row.path])
            assert pack.tokens[path].tolist() == [*tree.prompt, *response]
            assert pack.positions[path].tolist() == list(range(len(path)))
            assert predictors.tolist() == path[len(tree.prompt) - 1 : -1]
            for count, place in enumerate(path, 1):
                assert np.flatnonzero(seen[place]).tolist() == sorted(path[:count])


def test_rows_are_packed_only_where_that_is_cheaper():
    """One long shared segment with many short ends, and many long ends behind nothing shared."""

    def packs(shared, own, cost):
        builder = TreeBuilder("p", [1])
        stem = builder.add_segment(PROMPT, [2] * shared, [-1.0] * shared, 0)
        for _ in range(8):
            builder.add_leaf(builder.add_segment(stem, [3] * own, [-1.0] * own, 0), "eos")
        rows = make_rows([builder.build()], [np.ones(8, np.float32)])
        return len(list(make_packs(rows, 10_000, cost)))

    assert packs(100, 2, 0.001) == 1
    assert packs(2, 100, 0.0) == 1
    assert packs(2, 100, 0.01) == 8


def test_segment_advantages_reach_the_tokens_of_their_segment():
    builder = TreeBuilder("p", [1, 2])
    first = builder.add_segment(PROMPT, [3, 4, 5], [-1, -1, -1], 0)
    for tokens in ([6], [7, 8]):
        builder.add_leaf(builder.add_segment(first, tokens, [-1] * len(tokens), 2), "eos")
    tree = builder.build()
    rows = make_rows([tree], [np.asarray([[0.5, 1.0], [0.5, -2.0]], np.float32)])
    assert [row.advantages.tolist() for row in rows] == [[0.5] * 3 + [1.0], [0.5] * 3 + [-2.0] * 2]
    assert [row.newest_version for row in rows] == [2, 2]


def test_the_clip_stops_the_gradient_where_the_formula_says():
    from ralo_core import LossBatch

    def slope(ratio, advantage, **settings):
        policy = torch.tensor([[np.log(ratio)]], requires_grad=True)
        batch = LossBatch(
            behaviour_logprobs=torch.zeros(1, 1), advantages=torch.tensor([[advantage]]),
            mask=torch.ones(1, 1, dtype=torch.bool), staleness=torch.zeros(1),
        )  # fmt: skip
        loss = ClipLoss(ClipSettings(**settings), BuildContext(role="trainer"))
        total, _, metrics = loss.loss(policy, batch)
        total.backward()
        return policy.grad.item(), metrics["clip_fraction"]

    assert slope(1.27, 1.0) == (pytest.approx(-1.27), 0.0)
    assert slope(1.29, 1.0) == (0.0, 1.0)
    assert slope(0.5, 1.0) == (pytest.approx(-0.5), 0.0)
    assert slope(0.79, -1.0) == (0.0, 1.0)
    assert slope(2.0, -1.0) == (pytest.approx(2.0), 0.0)
    assert slope(4.0, -1.0, dual_clip=3.0) == (0.0, 1.0)
    assert slope(2.9, -1.0, dual_clip=3.0) == (pytest.approx(2.9), 0.0)
    assert slope(4.0, 1.0, dual_clip=3.0, clip_high=9.0) == (pytest.approx(-4.0), 0.0)

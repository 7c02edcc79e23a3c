"""M2PO against a search through every mask, and that it does not see how a batch is cut."""

import itertools

import numpy as np
import pytest
import torch
from computing import gradient_over, parallel_of
from hypothesis import given
from hypothesis import strategies as st
from small_models import one_batch, random_tree, small_policy

from ralo_core import BuildContext, LossBatch
from ralo_worker.corrections.second_moment import M2po
from ralo_worker.corrections.settings import M2poSettings
from ralo_worker.losses.policy_gradient import PolicyGradientLoss
from ralo_worker.trainer.layout.micro_batches import micro_batches
from ralo_worker.trainer.layout.packs import make_packs
from ralo_worker.trainer.layout.rows import make_rows

torch.set_num_threads(1)
CONTEXT = BuildContext(role="trainer")


def m2po(tau):
    return M2po(M2poSettings(tau=tau), CONTEXT)


def rows_of(log_ratios, advantages):
    """One row per token: what a mask over a batch does does not depend on whose the tokens are."""
    batch = LossBatch(
        behaviour_logprobs=torch.zeros(len(log_ratios), 1),
        advantages=torch.tensor(advantages)[:, None],
        mask=torch.ones(len(log_ratios), 1, dtype=torch.bool),
        staleness=torch.zeros(len(log_ratios), dtype=torch.int64),
    )
    return torch.tensor(log_ratios)[:, None], batch


def fewest_masked(log_ratios, advantages, tau):
    """Return the masks (sets of indices) of least size that bring M2 to `tau`, by trying all."""
    pairs = zip(log_ratios, advantages, strict=True)
    candidates = [i for i, (r, a) in enumerate(pairs) if (a > 0 and r > 0) or (a < 0 and r < 0)]
    for size in range(len(candidates) + 1):
        found = []
        for mask in itertools.combinations(candidates, size):
            kept = [log_ratios[i] ** 2 for i in candidates if i not in mask]
            if not kept or sum(kept) / len(kept) <= tau:
                found.append(set(mask))
        if found:
            return found
    raise AssertionError("to mask all candidates is always right")


# Distances that differ clearly: two that are equal share one fate, which the search does not know.
DISTANCES = st.lists(st.integers(1, 60), min_size=1, max_size=9, unique=True)


@given(DISTANCES, st.data())
def test_the_mask_is_the_smallest_that_brings_the_second_moment_to_tau(distances, data):
    def draw(choices):
        drawn = st.lists(st.sampled_from(choices), min_size=len(distances), max_size=len(distances))
        return data.draw(drawn)

    signs = draw([-1, 1])
    log_ratios = [sign * distance / 20 for sign, distance in zip(signs, distances, strict=True)]
    advantages = draw([-1.5, 0.0, 0.5])
    tau = data.draw(st.sampled_from([0.011, 0.043, 0.31, 1.7]))
    correction = m2po(tau)
    log_ratio, batch = rows_of(log_ratios, advantages)
    correction.survey([(log_ratio, batch)])
    weights = correction.weigh(log_ratio, batch)[:, 0].tolist()
    assert set(weights) <= {0.0, 1.0}
    masked = {index for index, weight in enumerate(weights) if weight == 0}
    expected = fewest_masked(log_ratios, advantages, tau)
    assert masked in expected
    # Among masks of one size the one with the farthest tokens.
    assert sum(distances[i] for i in masked) == max(
        sum(distances[i] for i in mask) for mask in expected
    )


def test_tokens_that_are_equally_far_share_one_fate():
    correction = m2po(0.04)
    log_ratio, batch = rows_of([0.1, 0.3, -0.3, 0.3], [1.0, 1.0, -1.0, 1.0])
    correction.survey([(log_ratio, batch)])
    assert correction.weigh(log_ratio, batch)[:, 0].tolist() == [1.0, 0.0, 0.0, 0.0]


def test_a_batch_where_every_candidate_is_too_far_keeps_what_leads_back():
    correction = m2po(0.04)
    log_ratio, batch = rows_of([2.0, -2.0, -3.0, 3.0, 1.0], [1.0, 1.0, -1.0, -1.0, 0.0])
    correction.survey([(log_ratio, batch)])
    assert correction.weigh(log_ratio, batch)[:, 0].tolist() == [0.0, 1.0, 0.0, 1.0, 1.0]


def test_a_batch_without_candidates_is_left_alone_and_the_next_one_is_its_own():
    correction = m2po(0.04)
    for log_ratios, advantages, kept in (
        ([5.0, 6.0], [1.0, 1.0], 0.0),
        ([-5.0, -6.0], [1.0, 1.0], 1.0),
        ([0.1, 0.2], [1.0, 1.0], 1.0),
    ):
        log_ratio, batch = rows_of(log_ratios, advantages)
        correction.survey([(log_ratio, batch)])
        assert correction.weigh(log_ratio, batch)[:, 0].tolist() == [kept] * 2


@pytest.mark.parametrize("shared", [0, 10_000])
def test_the_gradient_does_not_depend_on_how_the_batch_is_cut(shared):
    policy, rng = small_policy(), np.random.default_rng(3)
    trees = [random_tree(rng, leaves) for leaves in (2, 4, 5)]
    advantages = [rng.normal(size=len(tree.leaves)).astype(np.float32) for tree in trees]
    packs = list(make_packs(make_rows(trees, advantages), shared))
    loss, found = PolicyGradientLoss(None, CONTEXT), []
    for max_tokens in (1, 40, 10_000):
        corrections = {"m2po": m2po(0.3)}
        objective = parallel_of(policy, loss, corrections=corrections).objective
        objective.observe(objective.survey(micro_batches(packs, max_tokens, 0)))
        cut = micro_batches(packs, max_tokens, 0)
        found.append(gradient_over(policy, loss, cut, corrections=corrections))
    assert 0.02 < found[0].metrics["masked_fraction/m2po"] < 0.9, "the case tells nothing"
    for other in found[1:]:
        assert other.metrics == pytest.approx(found[0].metrics, rel=1e-4)
        for name, value in found[0].tensors.items():
            torch.testing.assert_close(other.tensors[name], value, rtol=1e-4, atol=1e-6)


def test_a_survey_leaves_no_gradient_and_sees_what_is_weighed():
    class Remembering:
        def survey(self, parts):
            self.seen = [log_ratio for log_ratio, _ in parts]

        def weigh(self, log_ratio, batch):
            assert torch.equal(log_ratio, self.seen.pop(0))
            return torch.ones_like(log_ratio)

    policy, tree = small_policy(), random_tree(np.random.default_rng(7), 4)
    rows = make_rows([tree], [np.asarray([1, 2, -1, 0.5], np.float32)])
    remembering, loss = Remembering(), PolicyGradientLoss(None, CONTEXT)
    corrections = {"remembering": remembering}
    objective = parallel_of(policy, loss, corrections=corrections).objective
    objective.observe(objective.survey(one_batch(rows)))
    assert not any(log_ratio.requires_grad for log_ratio in remembering.seen)
    assert all(parameter.grad is None for parameter in policy.parameters())
    gradient_over(policy, loss, one_batch(rows), corrections=corrections)
    assert not remembering.seen

"""Trees whose rollouts all have the same reward: skipped, counted once, replaced by others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralo_core import PROMPT, TreeBuilder
from ralo_core.config import resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.store.dynamic_sampling import skip_rule
from ralo_server.store.facts import total

ON = ("trainer.dynamic_sampling=total", "trainer.batch_trees=2", "server.queued_trees=3")
REGISTRY = Registry(PluginHost().load())


def rule(choice, *settings):
    options = [f"trainer.dynamic_sampling={choice}", "run.model=m", *settings]
    return skip_rule(resolve([set_layer(options)], REGISTRY))


def scored(**parts):
    values = {name: np.asarray(part, np.float32) for name, part in parts.items()}
    total_reward = sum(values.values())
    builder = TreeBuilder("p", [1])
    for _ in total_reward:
        builder.add_leaf(builder.add_segment(PROMPT, [2], [-1.0], 0), "eos")
    return builder.build().with_rewards(values, total_reward)


@pytest.mark.parametrize(
    ("right", "long", "off", "total_", "first"),
    [
        ([1, 0], [0, 0], False, False, False),
        ([1, 1], [0, 0], False, True, True),
        ([0, 0], [0, 0], False, True, True),
        ([1, 1], [0, -0.5], False, False, True),  # right, at a length that costs: no signal in DAPO
        ([1, 0], [-1, 0], False, True, True),  # nobody is better than another
        ([1], [0], False, True, True),
    ],
)
def test_what_is_skipped_is_a_matter_of_the_first_reward_or_the_sum(
    right, long, off, total_, first
):
    tree = scored(arithmetic=right, overlong=long)
    pipeline = "reward.pipeline=['arithmetic', 'overlong']"
    found = [rule(choice, pipeline)(tree) for choice in ("off", "total", "first")]
    assert found == [off, total_, first]
    behind = rule("first", "reward.pipeline=['overlong', 'arithmetic']")
    assert behind(tree) == (len(set(long)) == 1 or total_)


def test_a_tree_without_the_first_reward_is_judged_by_the_sum():
    skips = rule("first", "reward.pipeline=['arithmetic']")
    assert [skips(scored(exact=rewards)) for rewards in ([1, 0], [1, 1])] == [False, True]


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=9), st.booleans())
def test_skipped_is_exactly_what_the_mean_of_the_group_leaves_nothing_of(rewards, equal):
    rewards = rewards[:1] * len(rewards) if equal else rewards
    advantages = np.asarray(rewards, np.float64) - np.mean(np.asarray(rewards, np.float64))
    assert rule("total")(scored(arithmetic=rewards)) == (not advantages.any())


@pytest.fixture
def skipping(server):
    """Return a function that gives a run with dynamic sampling, and its learner."""

    def start(*settings):
        run = server(*ON, *settings)
        return run, run.learner()

    return start


def stats(run):
    return run.http.simulate_get("/stats").json


def test_a_skipped_tree_takes_no_place_and_another_problem_follows(skipping):
    run, _ = skipping()
    for _ in range(5):
        first, *others = run.lease(3)
        assert len(others) == 2, "what was skipped leaves its place in the queue"
        for leased, rewards in zip(
            (first, *others), ((1.0, 1.0), (0.0, 0.0), (0.5, 0.5)), strict=True
        ):
            assert run.upload(leased, rewards).json == {"accepted": True, "duplicate": False}
    found = stats(run)
    assert (found["trees"]["queued"], found["problems"]["done"]) == (0, 15)
    assert (found["trees"]["skipped"], found["trees"]["skipped_since_step"]) == (15, 15)
    assert found["rollouts"]["sampled"] == 30
    assert run.batch() is None
    assert list(run.directory.samples.iterdir()) == []


def test_every_batch_is_full_of_trees_with_signal(skipping):
    run, _ = skipping()
    for number in range(12):
        (leased,) = run.lease(1)
        run.upload(leased, (1.0, float(number % 3 == 0)))
        batch = run.batch()
        if batch is not None:
            assert len(batch.trees) == 2
            assert all(len(set(tree.rewards)) == 2 for tree in batch.trees)
    assert stats(run)["batches"]["leased"] == 4
    assert stats(run)["trees"]["skipped"] == 4


def test_a_skipped_tree_sent_again_is_a_duplicate_before_and_after_its_step(
    skipping, random_gradient
):
    run, learner = skipping()
    (equal,) = run.lease(1)
    assert run.upload(equal, (1.0, 1.0)).json["duplicate"] is False
    assert run.upload(equal, (1.0, 1.0)).json["duplicate"] is True
    assert run.upload(equal, (1.0, 0.0)).json["duplicate"] is True
    run.fill(2)
    run.send_gradient(run.batch().id, random_gradient(0), "g")
    learner.step(learner.due())
    assert run.upload(equal, (1.0, 1.0)).json["duplicate"] is True
    assert stats(run)["trees"]["skipped"] == 1
    assert stats(run)["trees"]["queued"] == 0


def test_rewards_of_a_step_are_over_all_that_was_sampled(skipping, random_gradient):
    run, learner = skipping()

    def step(number):
        run.fill(2)
        run.send_gradient(run.batch().id, random_gradient(number), f"g{number}")
        learner.step(learner.due())
        return stats(run)["steps"][-1]

    for leased, rewards in zip(run.lease(2), ((1.0, 1.0, 1.0, 1.0), (1.0, 1.0)), strict=True):
        run.upload(leased, rewards)
    first, second = step(1), step(2)
    assert first["reward"] == pytest.approx((4 + 2 + 1 + 1) / 10)
    assert (first["skipped_trees"], first["trees"], first["rollouts"]) == (2, 2, 4)
    assert first["tokens"] == 8
    assert second["reward"] == pytest.approx(0.5), "each tree counts in one step"
    assert second["skipped_trees"] == 0
    assert total(run.store.database, "rollouts_trained") == 8
    assert stats(run)["trees"]["skipped"] == 2
    assert stats(run)["trees"]["skipped_since_step"] == 0


def test_a_tree_that_is_skipped_while_a_step_is_taken_counts_in_the_next(
    skipping, random_gradient, monkeypatch
):
    run, learner = skipping()
    (late,) = run.lease(1)
    consumed = learner._consumed

    def consumed_then_another(*arguments):
        found = consumed(*arguments)
        run.upload(late, (1.0, 1.0))
        return found

    monkeypatch.setattr(learner, "_consumed", consumed_then_another)
    run.fill(2)
    run.send_gradient(run.batch().id, random_gradient(0), "g")
    learner.step(learner.due())
    assert stats(run)["steps"][-1]["skipped_trees"] == 0
    assert stats(run)["trees"]["skipped_since_step"] == 1


def test_what_was_skipped_outlives_the_process(skipping, random_gradient):
    run, _ = skipping()
    (equal,) = run.lease(1)
    run.upload(equal, (0.0, 0.0))
    again = type(run)(run.directory)
    learner = again.learner()
    assert again.upload(equal, (0.0, 0.0)).json["duplicate"] is True
    again.fill(2)
    again.send_gradient(again.batch().id, random_gradient(0), "g")
    learner.step(learner.due())
    (row,) = stats(again)["steps"]
    assert (row["skipped_trees"], row["reward"]) == (1, pytest.approx(1 / 3))


def test_a_drained_run_ends_although_its_last_trees_were_skipped(skipping):
    run, _ = skipping("evaluation.problems=0")
    for leased in run.lease(3):
        run.upload(leased, (1.0, 1.0))
    run.http.simulate_post("/stop")
    assert run.store.run.advance() == "finished"


def test_without_the_option_nothing_is_skipped(server):
    run = server("trainer.batch_trees=1")
    run.learner()
    (equal,) = run.lease(1)
    assert run.upload(equal, (1.0, 1.0)).json["accepted"]
    assert run.batch().trees[0].rewards.tolist() == [1.0, 1.0]
    assert stats(run)["trees"]["skipped"] == 0

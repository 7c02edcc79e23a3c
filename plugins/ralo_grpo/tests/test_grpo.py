"""Group sampling and group-relative advantages."""

import asyncio
from random import Random

import numpy as np
import pytest

from ralo_core import PROMPT, BuildContext, Completion, Problem, SamplingContext, TreeBuilder
from ralo_grpo.advantage import (
    GroupAdvantage,
    GroupAdvantageSettings,
    LeaveOneOut,
    WhitenedGroup,
    WhitenedReward,
    WhitenedSettings,
)
from ralo_grpo.sampler import GroupSampler, GroupSamplerSettings


class Engine:
    version = 3

    def __init__(self):
        self.requests = []

    async def generate(self, requests):
        self.requests += requests
        return [
            Completion(
                tokens=np.asarray([index, 0], np.int32),
                logprobs=np.asarray([-1.0, -index], np.float32),
                finish_reason="eos",
                version=3,
            )
            for index, _ in enumerate(requests)
        ]


def test_a_group_is_independent_responses_to_one_prompt():
    engine = Engine()
    sampler = GroupSampler(
        GroupSamplerSettings(group=4, max_tokens=50), BuildContext(role="sampler")
    )
    context = SamplingContext(
        prompt=(5, 6), eos_token_ids=frozenset([0]), temperature=0.7, top_p=0.9, top_k=3,
        max_tokens=20, random=Random(0), decode=str,
    )  # fmt: skip
    problem = Problem(id="p", prompt="x", answer="y")
    tree = asyncio.run(sampler.sample(problem, engine, context))
    assert len(engine.requests) == 4
    request = engine.requests[0]
    assert (request.prompt, request.max_tokens) == ((5, 6), 20)
    assert (request.temperature, request.top_p, request.top_k) == (0.7, 0.9, 3)
    assert tree.parents.tolist() == [PROMPT] * 4
    assert tree.finish_reasons == ("eos",) * 4
    assert tree.versions.tolist() == [3] * 4
    assert tree.leaf_tokens(2).tolist() == [2, 0]
    assert tree.leaf_logprobs(2).tolist() == [-1.0, -2.0]
    assert tree.temperature == 0.7


def group(rewards):
    builder = TreeBuilder("p", [1])
    for _ in rewards:
        builder.add_leaf(builder.add_segment(PROMPT, [1], [-1], 0), "eos")
    return builder.build().with_rewards({}, np.asarray(rewards, np.float32))


def estimate(*groups, **settings):
    part = GroupAdvantage(GroupAdvantageSettings(**settings), BuildContext(role="trainer"))
    return part.estimate([group(rewards) for rewards in groups])


def test_advantages_are_the_formula_of_the_paper():
    first, second = estimate([1, 0, 1, 1, 0, 0, 1, 0], [2, 4], eps=1e-12)
    assert first == pytest.approx(
        [0.93541 * sign for sign in (1, -1, 1, 1, -1, -1, 1, -1)], abs=1e-5
    )
    assert second == pytest.approx([-(0.5**0.5), 0.5**0.5])
    (centred,) = estimate([1, 0, 0, 0], scale=False)
    assert centred.tolist() == [0.75, -0.25, -0.25, -0.25]


@pytest.mark.parametrize("rewards", [[1.0], [1.0, 1.0, 1.0], [0.0, 0.0]])
def test_groups_that_tell_nothing_give_zero(rewards):
    (values,) = estimate(rewards)
    assert values.tolist() == [0.0] * len(rewards)


def test_leave_one_out_is_the_formula():
    rewards = [3.0, 1.0, 0.0, 0.5]
    (values,) = LeaveOneOut(None, BuildContext(role="trainer")).estimate([group(rewards)])
    for index, value in enumerate(values):
        others = rewards[:index] + rewards[index + 1 :]
        assert value == pytest.approx(rewards[index] - sum(others) / 3, abs=1e-6)
    (alone,) = LeaveOneOut(None, BuildContext(role="trainer")).estimate([group([5.0])])
    assert alone.tolist() == [0.0]


def responses(*pairs):
    """A group of (reward, tokens)."""
    builder = TreeBuilder("p", [1])
    for _, tokens in pairs:
        node = builder.add_segment(PROMPT, [1] * tokens, [-1] * tokens, 0)
        builder.add_leaf(node, "eos")
    return builder.build().with_rewards({}, np.asarray([r for r, _ in pairs], np.float32))


@pytest.mark.parametrize("baseline", [False, True])
def test_reinforce_pp_whitens_over_the_tokens_of_the_batch(baseline):
    cls = WhitenedGroup if baseline else WhitenedReward
    groups = [[(1.0, 2), (0.0, 5)], [(1.0, 3)], [(0.5, 1), (1.0, 1), (0.0, 4)]]
    estimator = cls(WhitenedSettings(eps=0.0), BuildContext(role="trainer"))
    values = estimator.estimate([responses(*pairs) for pairs in groups])
    tokens, raw = [], []
    for pairs in groups:
        mean = sum(reward for reward, _ in pairs) / len(pairs) if baseline else 0.0
        raw.append([reward - mean for reward, _ in pairs])
        tokens += [reward - mean for reward, count in pairs for _ in range(count)]
    for got, row in zip(values, raw, strict=True):
        expected = (np.asarray(row) - np.mean(tokens)) / np.std(tokens, ddof=1)
        assert got == pytest.approx(expected, abs=1e-5)

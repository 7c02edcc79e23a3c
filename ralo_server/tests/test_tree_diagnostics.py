"""A step's tree diagnostics against a count that knows nothing of arrays, on random trees."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralo_core import PROMPT, TreeBuilder
from ralo_server.learner.step.metrics import tree_metrics, tree_totals
from ralo_server.learner.step.tree_diagnostics import DEEPEST, tree_diagnostics
from ralo_server.store.sampling.tree_summaries import tree_summary

REASONS = ("boxed", "depth", "eos", "length")


@st.composite
def plans(draw):
    """A tree in plain lists: segments (parent, tokens), leaves (segment, reason, reward)."""
    count = draw(st.integers(1, 14))
    deep = draw(st.booleans())  # a chain reaches depths that bushes do not
    segments = [
        (
            place - 1 if deep else draw(st.integers(PROMPT, place - 1)),
            draw(st.lists(st.integers(5, 6), min_size=1, max_size=3)),
        )
        for place in range(count)
    ]
    ends = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=6, unique=True))
    rewards = st.sampled_from([0.0, 1.0])
    leaves = [(end, draw(st.sampled_from(REASONS)), draw(rewards)) for end in ends]
    facts = {"rounds": draw(st.integers(0, 9)), "pace": draw(st.floats(0, 1)), "seconds": {"a": 1}}
    return segments, leaves, facts


def built(plan):
    segments, leaves, facts = plan
    builder = TreeBuilder("p", [1])
    for parent, tokens in segments:
        builder.add_segment(parent, tokens, [-1.0] * len(tokens), 0)
    for end, reason, _ in leaves:
        builder.add_leaf(end, reason)
    rewards = np.asarray([reward for *_, reward in leaves], np.float32)
    return builder.build(facts).with_rewards({}, rewards)


def path_of(plan, end):
    parent, _ = plan[0][end]
    return [end] if parent == PROMPT else [*path_of(plan, parent), end]


def counted(plans):
    """Return the diagnostics by walking every path of every tree."""
    paths = [[path_of(plan, end) for end, *_ in plan[1]] for plan in plans]
    every = [path for some in paths for path in some]
    decoded = sum(len(tokens) for plan in plans for _, tokens in plan[0])
    responses = [
        [sum((plan[0][node][1] for node in path), []) for path in some]
        for plan, some in zip(plans, paths, strict=True)
    ]
    one_by_one = sum(len(response) for some in responses for response in some)
    used = sum(
        len(plan[0][node][1])
        for plan, some in zip(plans, paths, strict=True)
        for node in range(len(plan[0]))
        if any(node in path for path in some)
    )
    unlike = sum(len({tuple(response) for response in some}) for some in responses)
    equal = [len({reward for *_, reward in plan[1]}) == 1 for plan in plans]
    reasons = [reason for plan in plans for _, reason, _ in plan[1]]
    return {
        "decoded_tokens": decoded,
        "sharing_ratio": 1 - decoded / one_by_one,
        "used_token_share": used / decoded,
        "unique_leaf_share": unlike / len(every),
        "zero_variance_share": sum(equal) / len(plans),
        "first_branches": sum(len({p[0] for p in some}) for some in paths) / len(plans),
        "leaf_depth_mean": sum(map(len, every)) / len(every),
        **{
            f"leaves_at_depth/{depth}": sum(len(path) == depth for path in every) / len(every)
            for depth in {len(path) for path in every}
        },
        **{f"stop/{word}": reasons.count(word) / len(every) for word in set(reasons)},
        "sampling/rounds": sum(facts["rounds"] for *_, facts in plans),
        "sampling/pace": sum(facts["pace"] for *_, facts in plans),
    }


def stored(plan):
    """Return a tree's facts as they come back out of its row."""
    return json.loads(json.dumps(tree_summary(built(plan))))


@given(st.lists(plans(), min_size=1, max_size=4))
def test_diagnostics_equal_a_walk_over_all_paths(some):
    assert tree_diagnostics([stored(plan) for plan in some]) == pytest.approx(counted(some))


@given(st.lists(plans(), min_size=1, max_size=3))
def test_they_go_with_the_means_over_leaves(some):
    trees = [(0, stored(plan)) for plan in some]
    metrics, totals = tree_metrics(trees), tree_totals(trees)
    leaves = [leaf for plan in some for leaf in plan[1]]
    assert metrics["reward"] == pytest.approx(sum(leaf[2] for leaf in leaves) / len(leaves))
    lengths = [sum(len(p[0][n][1]) for n in path_of(p, end)) for p in some for end, *_ in p[1]]
    assert metrics["response_tokens"] == pytest.approx(sum(lengths) / len(lengths))
    assert totals == {"trees": len(some), "rollouts": len(leaves), "tokens": sum(lengths)}
    assert metrics["sharing_ratio"] == pytest.approx(
        1 - metrics["decoded_tokens"] / totals["tokens"]
    )


def chain(depth, reason="eos", facts=None):
    plan = ([(place - 1, [5]) for place in range(depth)], [(depth - 1, reason, 1.0)], facts or {})
    return stored(plan)


def test_deep_leaves_share_one_name():
    depths = (1, 9, DEEPEST, DEEPEST + 1, DEEPEST + 40, 10 * DEEPEST)
    shares = {
        name: value
        for name, value in tree_diagnostics([chain(depth) for depth in depths]).items()
        if name.startswith("leaves_at_depth/")
    }
    expected = {"1": 1 / 6, "9": 1 / 6, "16": 1 / 6, "17+": 3 / 6}
    assert shares == pytest.approx({f"leaves_at_depth/{n}": v for n, v in expected.items()})
    assert list(shares) == [f"leaves_at_depth/{depth}" for depth in expected], "ascending"


def test_the_names_of_a_step_stay_few_whatever_samplers_send():
    trees = [
        chain(1 + number, f"reason {number}", {f"fact {number} {k}": k for k in range(50)})
        for number in range(100)
    ] + [chain(3, "eos")] * 5
    metrics = tree_diagnostics(trees)
    stops = {name: value for name, value in metrics.items() if name.startswith("stop/")}
    assert len(stops) == 13
    assert stops["stop/eos"] == pytest.approx(5 / 105)
    assert sum(stops.values()) == pytest.approx(1)
    assert sum(name.startswith("sampling/") for name in metrics) == 16
    assert max(len(facts["sampling"]) for facts in trees) == 16


def test_only_numbers_of_the_metadata_are_summed():
    odd = {"yes": True, "word": "a", "none": None, "big": 10**400}
    odd |= {"nan": math.nan, "far": math.inf, "farther": -math.inf}
    metrics = tree_diagnostics([chain(1, facts={**odd, "fallbacks": 2, "cost": 0.5})] * 2)
    found = {name: value for name, value in metrics.items() if name.startswith("sampling/")}
    assert found == {"sampling/cost": 1.0, "sampling/fallbacks": 4}


def test_trees_of_an_earlier_release_have_no_shape():
    old = {"leaves": 2, "tokens": 9, "leaf_tokens": 12, "reward": 1.0, "parts": {}}
    assert tree_metrics([(0, old)]) == {"reward": 0.5, "response_tokens": 6.0}
    mixed = tree_metrics([(0, old), (0, chain(4))])
    assert mixed["reward"] == pytest.approx(2 / 3)
    assert (mixed["leaf_depth_mean"], mixed["decoded_tokens"]) == (4.0, 4)


def test_a_segment_without_a_token_divides_nothing_by_zero():
    builder = TreeBuilder("p", [1])
    builder.add_leaf(builder.add_segment(PROMPT, [], [], 0), "length")
    metrics = tree_diagnostics([tree_summary(builder.build())])
    assert (metrics["decoded_tokens"], metrics["sharing_ratio"]) == (0, 0.0)
    assert all(math.isfinite(value) for value in metrics.values())

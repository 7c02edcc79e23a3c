"""The segment variant against the worked example and against a brute force on random trees."""

import numpy as np
import pytest
from example_trees import binary_tree
from hypothesis import given
from hypothesis import strategies as st

from ralo_core import BuildContext
from ralo_core.testing import random_tree
from ralo_treepo.segment_advantage import SegmentAdvantage
from ralo_treepo.settings import SegmentAdvantageSettings

PLAIN = [
    [.13333, -.2, .46667], [.13333, -.2, -.46667], [.13333, .2, 0], [.13333, .2, 0],
    [-.13333, -.2, 0], [-.13333, -.2, 0], [-.13333, .2, .46667], [-.13333, .2, -.46667],
]  # fmt: skip
WHITENED = [
    [.56273, -.84410, 1.96956], [.56273, -.84410, -1.96956], [.56273, .84410, 0],
    [.56273, .84410, 0], [-.56273, -.84410, 0], [-.56273, -.84410, 0],
    [-.56273, .84410, 1.96956], [-.56273, .84410, -1.96956],
]  # fmt: skip
DECAYED = [
    [.13333, -.1, .43333], [.13333, -.1, -.5], [.13333, .3, .16667], [.13333, .3, .16667],
    [-.13333, -.3, -.16667], [-.13333, -.3, -.16667], [-.13333, .1, .5], [-.13333, .1, -.43333],
]  # fmt: skip


def estimator(**settings):
    return SegmentAdvantage(SegmentAdvantageSettings(**settings), BuildContext(role="trainer"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"normalise": "off"}, PLAIN),
        ({}, WHITENED),
        ({"normalise": "off", "decay": 0.5}, DECAYED),
    ],
    ids=str,
)
def test_the_worked_example(settings, expected):
    (values,) = estimator(**settings).estimate([binary_tree()])
    assert values == pytest.approx(np.asarray(expected), abs=2e-5)


def outcome(tree, leaf):
    """R' of the reference, section 2.3, from the definition."""
    above = [-1, *tree.path(leaf)]
    groups = [[k for k in range(len(tree.leaves)) if p in (-1, *tree.path(k))] for p in above]
    rewards = [float(value) for value in tree.rewards]
    means = [sum(rewards[k] for k in group) / len(group) for group in groups]
    parts = [len(g) * (rewards[leaf] - mean) for g, mean in zip(groups, means, strict=True)]
    return sum(parts) / sum(len(group) for group in groups)


def value(tree, node):
    """The mean over the children, down to the leaves."""
    leaves = tree.leaves.tolist()
    if node in leaves:
        return outcome(tree, leaves.index(node))
    children = [k for k, parent in enumerate(tree.parents) if parent == node]
    return sum(value(tree, child) for child in children) / len(children)


@given(st.integers(0, 10**6), st.sampled_from([1.0, 0.7]))
def test_segments_equal_the_brute_force(seed, decay):
    tree = random_tree(seed)
    (values,) = estimator(normalise="off", decay=decay).estimate([tree])
    for leaf in range(len(tree.leaves)):
        path = tree.path(leaf)
        for k, node in enumerate(path):
            before = value(tree, path[k - 1]) if k else 0.0
            expected = value(tree, node) - decay ** (len(path) - k) * before
            assert values[leaf, k] == pytest.approx(expected, abs=1e-5)
        assert not values[leaf, len(path) :].any()


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
def test_whitening_counts_a_segment_by_its_true_length(seeds):
    trees = [random_tree(seed) for seed in seeds]
    raw, white = (estimator(normalise=how).estimate(trees) for how in ("off", "batch"))
    tokens = np.asarray([
        values[leaf, k]
        for tree, values in zip(trees, raw, strict=True)
        for leaf in range(len(tree.leaves))
        for k, node in enumerate(tree.path(leaf))
        for _ in tree.tokens[tree.segment(node)]
    ], np.float64)  # fmt: skip
    spread = tokens.std(ddof=1) if len(tokens) > 1 else 0.0
    for tree, before, after in zip(trees, raw, white, strict=True):
        for leaf in range(len(tree.leaves)):
            for k in range(len(tree.path(leaf))):
                expected = (before[leaf, k] - tokens.mean()) / spread if spread > 1e-6 else 0.0
                assert after[leaf, k] == pytest.approx(expected, abs=1e-3)

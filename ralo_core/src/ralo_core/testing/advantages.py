"""The contract of advantage estimators: shapes, finiteness, nothing for a lone leaf, purity."""

import numpy as np

from ralo_core.data import PROMPT, TreeBuilder
from ralo_core.protocols import AdvantageEstimator
from ralo_core.testing.trees import random_tree


def check_advantage_estimator(estimator: AdvantageEstimator) -> None:
    """Check `estimator` on random trees, on one tree, and on a lone leaf."""
    trees = [random_tree(seed) for seed in range(6)]
    values = estimator.estimate(trees)
    assert len(values) == len(trees), "estimate() must return one array per tree"
    for tree, value in zip(trees, values, strict=True):
        leaves = len(tree.leaves)
        assert value.dtype == np.float32, f"advantages must be float32, got {value.dtype}"
        assert value.ndim in (1, 2), "advantages must have the shape [leaves] or [leaves, segments]"
        assert value.shape[0] == leaves, f"a tree of {leaves} leaves needs as many advantages"
        longest = max(len(tree.path(leaf)) for leaf in range(leaves))
        assert value.ndim == 1 or value.shape[1] >= longest, (
            f"advantages per segment must reach the {longest} segments of the longest path"
        )
        assert np.isfinite(value).all(), "advantages must be finite"
    again = estimator.estimate(trees)
    same = all(np.array_equal(a, b) for a, b in zip(values, again, strict=True))
    assert same, "estimate() must give the same for the same trees: it must keep no state"
    builder = TreeBuilder("lone", [1])
    builder.add_leaf(builder.add_segment(PROMPT, [2], [-1.0], 0), "eos")
    lone = builder.build().with_rewards({}, np.ones(1, np.float32))
    (alone,) = estimator.estimate([lone])
    assert not np.any(alone), "a lone leaf has nothing to be better than: its advantage must be 0"

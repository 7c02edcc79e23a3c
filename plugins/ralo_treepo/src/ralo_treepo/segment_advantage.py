"""The tree advantage per segment: what a segment changed, in the value of where it stands.

From the authors' release (`tree_segment_reinforce_plus_plus_baseline`), not in the paper. With
p over the nodes above leaf i, the leaf itself and the prompt among them, and G_p the leaves
below p, the outcome of a leaf is

    R'_i = sum_p |G_p| (R_i - mean(R over G_p)) / sum_p |G_p|

The value of a leaf's node is R'_i, that of an inner node the mean of its children's values, that
of the prompt 0. Segment k of n on a path gets ``V_k - eta^(n + 1 - k) V_(k-1)``.

Segments count by their true lengths
(the release assumes that each but the last is full).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ralo_core import BuildContext, RolloutTree, whitened
from ralo_treepo.lineage import Float64, Int64, Lineage
from ralo_treepo.settings import SegmentAdvantageSettings


class SegmentAdvantage:
    """Satisfies `ralo_core.protocols.AdvantageEstimator`."""

    def __init__(self, settings: SegmentAdvantageSettings, context: BuildContext) -> None:
        self._settings = settings

    def estimate(self, trees: Sequence[RolloutTree]) -> list[npt.NDArray[np.float32]]:
        """Return float32[L, D] per tree, a value per leaf and segment of its path, first to last;
        what is behind a path's end is 0."""
        paths = [_paths(Lineage.of(tree)) for tree in trees]
        values = [self._of_tree(*pair) for pair in zip(trees, paths, strict=True)]
        if self._settings.normalise == "batch":
            sizes = [_sizes(*pair) for pair in zip(trees, paths, strict=True)]
            values = whitened(values, sizes, self._settings.eps)
        ends = [path == len(tree.parents) for tree, path in zip(trees, paths, strict=True)]
        return [
            np.where(end, 0.0, value).astype(np.float32)
            for value, end in zip(values, ends, strict=True)
        ]

    def _of_tree(self, tree: RolloutTree, path: Int64) -> Float64:
        root = len(tree.parents)
        value = _node_values(tree)
        before = np.concatenate([np.full((len(path), 1), root), path[:, :-1]], axis=1)
        lengths = (path != root).sum(1, keepdims=True)
        left = lengths - np.arange(path.shape[1])
        difference: Float64 = value[path] - self._settings.decay**left * value[before]
        return np.where(path == root, 0.0, difference)


def _outcomes(tree: RolloutTree) -> Float64:
    """Return R' of every leaf, float64[L]; the leaf's own group of one adds a weight of 1."""
    rewards, lineage = tree.rewards.astype(np.float64), Lineage.of(tree)
    leaves, nodes = lineage.pairs()
    sizes = np.bincount(nodes, minlength=lineage.nodes)
    sums = np.bincount(nodes, rewards[leaves], lineage.nodes)
    weighted = sizes[nodes] * rewards[leaves] - sums[nodes]
    total = np.bincount(leaves, weighted, len(rewards))
    return np.asarray(total / (np.bincount(leaves, sizes[nodes], len(rewards)) + 1))


def _node_values(tree: RolloutTree) -> Float64:
    """Return V of every segment and, behind them, of the prompt, float64[S + 1]."""
    root = len(tree.parents)
    total, children = np.zeros(root + 1), np.zeros(root + 1)
    np.add.at(total, tree.leaves, _outcomes(tree))
    np.add.at(children, tree.leaves, 1)
    for node in range(root - 1, -1, -1):  # children stand behind their parents
        total[node] /= max(children[node], 1)
        total[tree.parents[node]] += total[node]  # the parent -1 is the last one, the prompt
        children[tree.parents[node]] += 1
    total[root] = 0.0
    return total


def _paths(lineage: Lineage) -> Int64:
    """Return the segments of every leaf's path, int64[L, D], padded with the prompt's number."""
    upwards = np.stack(lineage.levels[:-1], axis=1)
    depths = lineage.depths()[:, None]
    place = depths - 1 - np.arange(upwards.shape[1])
    turned = np.take_along_axis(upwards, np.maximum(place, 0), axis=1)
    return np.where(place >= 0, turned, lineage.nodes - 1)


def _sizes(tree: RolloutTree, path: Int64) -> Int64:
    return np.append(np.diff(tree.offsets), 0).astype(np.int64)[path]

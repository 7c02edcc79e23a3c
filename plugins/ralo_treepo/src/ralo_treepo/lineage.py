"""The ancestors of every leaf, and sums over the leaves below a node, without a loop over leaves.

For both advantage estimators. P pairs of a leaf with a node above it; node S, behind the
S segments, stands for the prompt.
"""

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from ralo_core import PROMPT, RolloutTree

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@attrs.frozen(eq=False)
class Lineage:
    """`levels`: the nodes of all leaves, int64[L] each, the leaves' own first, then their parents
    and so on until all are at the prompt; a leaf stays there."""

    levels: Sequence[Int64]
    nodes: int

    @classmethod
    def of(cls, tree: RolloutTree) -> "Lineage":
        """Return that of `tree`."""
        root = len(tree.parents)
        parents = np.where(tree.parents == PROMPT, root, tree.parents).astype(np.int64)
        parents = np.append(parents, root)
        levels = [tree.leaves.astype(np.int64)]
        while (levels[-1] != root).any():
            levels.append(parents[levels[-1]])
        return cls(levels, root + 1)

    def pairs(self) -> tuple[Int64, Int64]:
        """Return leaf and node, int64[P] each: every leaf with each node above its own, the prompt
        included, once."""
        root = self.nodes - 1
        leaves, nodes = [], []
        for below, level in zip(self.levels, self.levels[1:], strict=False):
            (new,) = np.nonzero(below != root)
            leaves.append(new)
            nodes.append(level[new])
        return np.concatenate(leaves), np.concatenate(nodes)

    def depths(self) -> Int64:
        """Return the segments on the path of every leaf, int64[L]."""
        root = self.nodes - 1
        inside = np.asarray([level != root for level in self.levels], np.int64)
        return np.asarray(inside.sum(0))

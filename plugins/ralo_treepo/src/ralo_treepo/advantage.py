"""The tree advantage, equations 5 to 7 of the TreePO paper.

A leaf i stands in nested groups G_0 (all leaves of the tree), G_1, G_2, ...: the leaves below
its ancestor at depth j. Each group of more than one leaf gives a term

    A_ij = R_i - mean(R over G_j)

and the advantage is their mean ('average', eq. 5) or ``sum |G_j| A_ij / sum |G_j|`` ('size',
eq. 6), with sub-groups of equal rewards left out or not (eq. 7), then normalised.

A lone leaf gets 0 (the release gives
it its raw reward, which is no advantage).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ralo_core import BuildContext, RolloutTree, whitened
from ralo_treepo.lineage import Float64, Int64, Lineage
from ralo_treepo.settings import TreeAdvantageSettings


class TreeAdvantage:
    """Satisfies `ralo_core.protocols.AdvantageEstimator`."""

    def __init__(self, settings: TreeAdvantageSettings, context: BuildContext) -> None:
        self._settings = settings

    def estimate(self, trees: Sequence[RolloutTree]) -> list[npt.NDArray[np.float32]]:
        """Return float32[L] per tree, a scalar per leaf."""
        values = [self._of_tree(tree) for tree in trees]
        if self._settings.normalise == "batch":
            lengths = [tree.response_lengths() for tree in trees]
            values = whitened(values, lengths, self._settings.eps)
        return [value.astype(np.float32) for value in values]

    def _of_tree(self, tree: RolloutTree) -> Float64:
        """Return the advantages of one tree, not yet whitened, float64[L]."""
        rewards, count = tree.rewards.astype(np.float64), len(tree.rewards)
        lineage = Lineage.of(tree)
        leaves, nodes = lineage.pairs()
        sizes = np.bincount(nodes, minlength=lineage.nodes)
        means = np.bincount(nodes, rewards[leaves], lineage.nodes) / np.maximum(sizes, 1)
        kept = self._counts(lineage.nodes, leaves, nodes, rewards)[nodes]
        leaves, nodes = leaves[kept], nodes[kept]
        terms = rewards[leaves] - means[nodes]
        weights = sizes[nodes] if self._settings.weighting == "size" else np.ones(len(nodes))
        total = np.bincount(leaves, weights * terms, count)
        weight = np.bincount(leaves, weights, count)
        # A leaf without any group (lone, or all rejected) has nothing to be better than.
        values: Float64 = np.divide(total, weight, out=np.zeros(count), where=weight > 0)
        return self._scaled(values, terms)

    def _counts(
        self, node_count: int, leaves: Int64, nodes: Int64, rewards: Float64
    ) -> npt.NDArray[np.bool_]:
        """Return which nodes' groups give a term, bool[nodes]; the prompt is the last node."""
        counts = np.bincount(nodes, minlength=node_count) > 1
        if self._settings.reject_equal:
            lowest, highest = np.full(node_count, np.inf), np.full(node_count, -np.inf)
            np.minimum.at(lowest, nodes, rewards[leaves])
            np.maximum.at(highest, nodes, rewards[leaves])
            counts[:-1] &= lowest[:-1] < highest[:-1]
        counts[-1] &= self._settings.root
        return counts

    def _scaled(self, values: Float64, terms: Float64) -> Float64:
        if self._settings.normalise != "subgroups":
            return values
        spread = terms.std() if len(terms) else 0.0
        return values / spread if spread > 0 else np.zeros_like(values)

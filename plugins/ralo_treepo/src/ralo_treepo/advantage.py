"""The tree advantage, equations 5 to 7 of the TreePO paper.

A leaf i stands in nested groups G_0 (all leaves of the tree), G_1, G_2, ...: the leaves below
its ancestor at depth j. Each group of more than one leaf gives a term

    A_ij = R_i - mean(R over G_j)

and the advantage is their mean ('average', eq. 5) or ``sum |G_j| A_ij / sum |G_j|`` ('size',
eq. 6), then whitened over all response tokens of the batch as in REINFORCE++.

Neighbours: the trainer calls `estimate` once per batch. A lone leaf gets 0 (the release gives
it its raw reward, which is no advantage).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ralo_core import PROMPT, BuildContext, RolloutTree
from ralo_treepo.settings import TreeAdvantageSettings

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


class TreeAdvantage:
    """Satisfies `ralo_core.protocols.AdvantageEstimator`."""

    def __init__(self, settings: TreeAdvantageSettings, context: BuildContext) -> None:
        self._settings = settings

    def estimate(self, trees: Sequence[RolloutTree]) -> list[Float32]:
        """Return float32[L] per tree, a scalar per leaf."""
        raw = [self.raw(tree) for tree in trees]
        if self._settings.whiten:
            lengths = [response_lengths(tree) for tree in trees]
            raw = whitened(raw, lengths, self._settings.eps)
        return [values.astype(np.float32) for values in raw]

    def raw(self, tree: RolloutTree) -> Float64:
        """Return the advantages of one tree before whitening, float64[L]."""
        rewards = tree.rewards.astype(np.float64)
        total, weight = np.zeros(len(rewards)), np.zeros(len(rewards))
        for node, members in sub_groups(tree).items():
            group = rewards[members]
            if not self._counts(node, group):
                continue
            factor = len(group) if self._settings.weighting == "size" else 1
            total[members] += factor * (group - group.mean())
            weight[members] += factor
        # A leaf without any group (lone, or all rejected) has nothing to be better than.
        return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)

    def _counts(self, node: int, group: Float64) -> bool:
        if len(group) < 2:
            return False
        if node == PROMPT:
            return self._settings.root
        return not (self._settings.reject_equal and np.ptp(group) == 0)


def sub_groups(tree: RolloutTree) -> dict[int, npt.NDArray[np.int64]]:
    """Return the leaves below the prompt and below every inner segment, by node."""
    below: dict[int, list[int]] = {PROMPT: []}
    for leaf in range(len(tree.leaves)):
        below[PROMPT].append(leaf)
        for node in tree.path(leaf)[:-1]:
            below.setdefault(node, []).append(leaf)
    return {node: np.asarray(leaves, np.int64) for node, leaves in below.items()}


def response_lengths(tree: RolloutTree) -> npt.NDArray[np.int64]:
    """Return the response length of every leaf in tokens, int64[L]."""
    sizes = np.diff(tree.offsets)
    return np.asarray([sizes[tree.path(leaf)].sum() for leaf in range(len(tree.leaves))])


def whitened(
    values: Sequence[Float64], lengths: Sequence[npt.NDArray[np.int64]], eps: float
) -> list[Float64]:
    """Return ``(A - mean) / sqrt(var + eps)`` over all tokens, each leaf counted by its length.

    The variance is unbiased. Without any spread (or with a single token) everything is 0.
    """
    flat, weight = np.concatenate(values), np.concatenate(lengths).astype(np.float64)
    tokens = weight.sum()
    mean = (flat * weight).sum() / tokens
    squares = ((flat - mean) ** 2 * weight).sum()
    if tokens < 2 or squares == 0:
        return [np.zeros_like(value) for value in values]
    scale = np.sqrt(squares / (tokens - 1) + eps)
    return [(value - mean) / scale for value in values]

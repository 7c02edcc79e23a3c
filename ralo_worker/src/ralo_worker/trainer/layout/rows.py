"""The leaves of rollout trees as training rows: response, advantages, and the log-probs that the
loss compares."""

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from ralo_core import RaloError, RolloutTree
from ralo_core.protocols import Loss

Float32 = npt.NDArray[np.float32]


@attrs.frozen(kw_only=True, eq=False)
class Row:
    """A leaf of `tree` with the segments of its `path`; per response token the behaviour
    `logprobs` and `advantages`, float32[n]."""

    tree: RolloutTree
    path: tuple[int, ...]
    logprobs: Float32
    advantages: Float32

    @property
    def newest_version(self) -> int:
        """The newest weight version that wrote a part of it."""
        return int(self.tree.versions[list(self.path)].max())


def make_rows(trees: Sequence[RolloutTree], advantages: Sequence[Float32]) -> list[Row]:
    """Return a row per leaf of every tree; `advantages` as an `AdvantageEstimator` gives them.

    Raises `RaloError` if their shapes do not fit the trees.
    """
    if len(advantages) != len(trees):
        msg = f"the advantage estimator gave {len(advantages)} arrays for {len(trees)} trees"
        raise RaloError(msg)
    return [
        _row(tree, leaf, advantage)
        for tree, advantage in zip(trees, advantages, strict=True)
        for leaf in range(len(tree.leaves))
    ]


def without_zeros(rows: Sequence[Row], loss: Loss) -> tuple[Sequence[Row], float]:
    """Return the rows that have a gradient, and the normaliser of the others: all of them and 0
    where `loss` does not say what it would be."""
    normaliser = getattr(loss, "normaliser", None)
    if normaliser is None:
        return rows, 0.0
    kept = [row for row in rows if row.advantages.any()]
    return kept, normaliser([len(row.logprobs) for row in rows if not row.advantages.any()])


def _row(tree: RolloutTree, leaf: int, advantage: Float32) -> Row:
    path = tree.path(leaf)
    lengths = np.diff(tree.offsets)[path]
    value = np.asarray(advantage, np.float32)
    if value.ndim not in (1, 2) or len(value) != len(tree.leaves):
        msg = (
            f"the advantage estimator must give one value per leaf, float32[{len(tree.leaves)}] "
            f"or float32[{len(tree.leaves)}, segments]; got shape {list(value.shape)}"
        )
        raise RaloError(msg)
    per_segment = value[leaf, : len(path)] if value.ndim == 2 else np.full(len(path), value[leaf])
    return Row(
        tree=tree,
        path=tuple(path),
        logprobs=tree.leaf_logprobs(leaf),
        advantages=np.repeat(per_segment, lengths).astype(np.float32),
    )

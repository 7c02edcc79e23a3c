"""Rollout trees as padded rows of token ids, one row per leaf, cut into micro-batches.

Neighbours: `trainer.gradient` feeds them to the model. Shapes: R rows, T columns; a row is
prompt + response, padded at the right, so that causal attention needs no mask.
"""

from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ralo_core import LossBatch, RaloError, RolloutTree

Float32 = npt.NDArray[np.float32]


@attrs.frozen(kw_only=True, eq=False)
class Row:
    """One leaf: `tokens` int[n] with the prompt first, response values float32[n - prompt]."""

    tokens: npt.NDArray[np.int32]
    prompt: int
    logprobs: Float32
    advantages: Float32
    newest_version: int
    temperature: float


@attrs.frozen(kw_only=True, eq=False)
class MicroBatch:
    """`tokens` int64[R, T]; `first` is the column of the first response token of any row.

    The loss batch has the columns ``first..T-1``; column j of it belongs to token ``first + j``,
    which the logits at ``first + j - 1`` predict. `temperature` is float32[R, 1].
    """

    tokens: Tensor
    first: int
    temperature: Tensor
    loss_batch: LossBatch


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


def micro_batches(rows: Sequence[Row], max_tokens: int, version: int) -> Iterator[MicroBatch]:
    """Yield padded batches of at most `max_tokens` tokens (or one row), of similar length."""
    ordered = sorted(rows, key=lambda row: len(row.tokens))
    start = 0
    for end in range(1, len(ordered) + 1):
        full = end < len(ordered) and (end + 1 - start) * len(ordered[end].tokens) > max_tokens
        if full or end == len(ordered):
            yield _padded(ordered[start:end], version)
            start = end


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
        tokens=np.concatenate([tree.prompt, tree.leaf_tokens(leaf)]),
        prompt=len(tree.prompt),
        logprobs=tree.leaf_logprobs(leaf),
        advantages=np.repeat(per_segment, lengths).astype(np.float32),
        newest_version=int(tree.versions[path].max()),
        temperature=tree.temperature,
    )


def _padded(rows: Sequence[Row], version: int) -> MicroBatch:
    width = max(len(row.tokens) for row in rows)
    first = min(row.prompt for row in rows)
    tokens = np.zeros((len(rows), width), np.int64)
    logprobs = np.zeros((len(rows), width - first), np.float32)
    advantages, mask = np.zeros_like(logprobs), np.zeros(logprobs.shape, bool)
    for index, row in enumerate(rows):
        response = slice(row.prompt - first, len(row.tokens) - first)
        tokens[index, : len(row.tokens)] = row.tokens
        logprobs[index, response] = row.logprobs
        advantages[index, response] = row.advantages
        mask[index, response] = True
    ages = [version - row.newest_version for row in rows]
    return MicroBatch(
        tokens=torch.from_numpy(tokens),
        first=first,
        temperature=torch.tensor([[row.temperature] for row in rows], dtype=torch.float32),
        loss_batch=LossBatch(
            behaviour_logprobs=torch.from_numpy(logprobs),
            advantages=torch.from_numpy(advantages),
            mask=torch.from_numpy(mask),
            staleness=torch.tensor(ages),
        ),
    )

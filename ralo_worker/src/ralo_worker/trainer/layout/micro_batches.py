"""Packs as padded tensors, cut into micro-batches that fit the memory.

Shapes: S sequences (packs) of T columns, padded at the right; R rows of C response tokens, as the
loss sees them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ralo_core import LossBatch
from ralo_worker.trainer.layout.packs import Pack
from ralo_worker.trainer.layout.rows import Row

Bool = npt.NDArray[np.bool_]


@attrs.frozen(kw_only=True, eq=False)
class MicroBatch:
    """`tokens` and `positions` int64[S, T]; `attention` bool[S, 1, T, T], None where causal
    attention is right.

    Logits are needed at the N `places` int64[N], which count among all S x T tokens, ascending;
    `temperature` is float32[N]. `predictors` int64[R, C] counts among these N and `targets`
    int64[R, C] are the tokens that they predict, where the mask of `loss_batch` holds.
    """

    tokens: Tensor
    positions: Tensor
    attention: Tensor | None
    places: Tensor
    temperature: Tensor
    predictors: Tensor
    targets: Tensor
    loss_batch: LossBatch


def micro_batches(packs: Sequence[Pack], max_tokens: int, version: int) -> Iterator[MicroBatch]:
    """Yield batches of at most `max_tokens` padded tokens (or one pack)."""
    for batch in cut(packs, max_tokens):
        yield _padded(batch, version)


def cut(packs: Sequence[Pack], max_tokens: int) -> Iterator[Sequence[Pack]]:
    """Yield the packs of every micro-batch, of similar length, the longest last."""
    ordered = sorted(packs, key=lambda pack: len(pack.tokens))
    start = 0
    for end in range(1, len(ordered) + 1):
        full = end < len(ordered) and (end + 1 - start) * len(ordered[end].tokens) > max_tokens
        if full or end == len(ordered):
            yield ordered[start:end]
            start = end


def _padded(packs: Sequence[Pack], version: int) -> MicroBatch:
    width = max(len(pack.tokens) for pack in packs)
    tokens = np.zeros((2, len(packs), width), np.int64)
    temperature = np.ones((len(packs), width), np.float32)
    for index, pack in enumerate(packs):
        tokens[:, index, : len(pack.tokens)] = pack.tokens, pack.positions
        temperature[index, : len(pack.tokens)] = pack.temperatures
    rows = [row for pack in packs for row in pack.rows]
    responses = [len(row.logprobs) for row in rows]
    mask = np.arange(max(responses)) < np.asarray(responses)[:, None]
    sources = [index * width + each for index, pack in enumerate(packs) for each in pack.predictors]
    places, predictors = np.unique(np.concatenate(sources), return_inverse=True)
    targets = [tokens[0, index, each] for index, pack in enumerate(packs) for each in pack.places]
    return MicroBatch(
        tokens=torch.from_numpy(tokens[0]),
        positions=torch.from_numpy(tokens[1]),
        attention=_attention(packs, width),
        places=torch.from_numpy(places),
        temperature=torch.from_numpy(temperature.flatten()[places]),
        predictors=_filled(mask, [predictors], np.int64),
        targets=_filled(mask, targets, np.int64),
        loss_batch=_loss_batch(rows, mask, version),
    )


def _attention(packs: Sequence[Pack], width: int) -> Tensor | None:
    if all(pack.is_chain for pack in packs):
        return None
    # A pad sees itself: a query without any key has no softmax.
    seen = np.tile(np.eye(width, dtype=bool), (len(packs), 1, 1, 1))
    for index, pack in enumerate(packs):
        seen[index, 0, : len(pack.tokens), : len(pack.tokens)] = pack.attention()
    return torch.from_numpy(seen)


def _loss_batch(rows: Sequence[Row], mask: Bool, version: int) -> LossBatch:
    return LossBatch(
        behaviour_logprobs=_filled(mask, [row.logprobs for row in rows], np.float32),
        advantages=_filled(mask, [row.advantages for row in rows], np.float32),
        mask=torch.from_numpy(mask),
        staleness=torch.tensor([version - row.newest_version for row in rows]),
    )


def _filled(mask: Bool, values: Sequence[npt.NDArray[Any]], dtype: type) -> Tensor:
    """Return `values`, one array per row, where `mask` holds, 0 elsewhere."""
    filled: npt.NDArray[Any] = np.zeros(mask.shape, dtype)
    filled[mask] = np.concatenate(values)
    return torch.from_numpy(filled)

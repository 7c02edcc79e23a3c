"""Packs of several trees one behind the other in a sequence, where that is cheaper than padding.

Sequences that go through the model together are as wide as the longest of them. What others leave
free, further packs fill: each begins at position 0, and sees its own tokens only. Attention then
looks at every pair of the sequence, so the saving is weighed against that, for the whole batch.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ralo_worker.trainer.layout.micro_batches import cut
from ralo_worker.trainer.layout.packs import Pack

_WIDEST = 4
"""Times the longest pack. In wider sequences hardly any more room is filled."""


def make_forests(
    packs: Sequence[Pack], limit: int, max_tokens: int, pair_cost: float
) -> list[Pack]:
    """Return `packs`, some of them joined to sequences of at most `limit` tokens, in the cheapest
    of the ways that are tried; `max_tokens` are those of a micro-batch, `pair_cost` is that of
    `make_packs`."""
    ways = [list(packs), *(_filled(packs, width) for width in _widths(packs, limit))]
    return min(ways, key=lambda way: cost(way, max_tokens, pair_cost))


def cost(packs: Sequence[Pack], max_tokens: int, pair_cost: float) -> float:
    """Return what the micro-batches of `packs` cost, padding included, in units of a token's way
    through all of the model but attention."""
    total = 0.0
    for batch in cut(packs, max_tokens):
        width = len(batch[-1].tokens)
        pairs = width**2 / 2 if all(pack.is_chain for pack in batch) else width**2
        total += len(batch) * (width + pair_cost * pairs)
    return total


def join(packs: Sequence[Pack]) -> Pack:
    """Return one sequence with all of `packs`, none of which sees another."""
    sizes = [len(pack.tokens) for pack in packs]
    counts = [len(pack.sees) for pack in packs]
    starts, blocks = np.cumsum(sizes) - sizes, np.cumsum(counts) - counts
    sees = np.zeros((sum(counts), sum(counts)), bool)
    for pack, block in zip(packs, blocks, strict=True):
        sees[block : block + len(pack.sees), block : block + len(pack.sees)] = pack.sees
    shifted = list(zip(packs, starts, strict=True))
    return Pack(
        rows=[row for pack in packs for row in pack.rows],
        tokens=np.concatenate([pack.tokens for pack in packs]),
        positions=np.concatenate([pack.positions for pack in packs]),
        temperatures=np.concatenate([pack.temperatures for pack in packs]),
        blocks=np.concatenate([p.blocks + block for p, block in zip(packs, blocks, strict=True)]),
        sees=sees,
        places=[place + start for pack, start in shifted for place in pack.places],
        predictors=[place + start for pack, start in shifted for place in pack.predictors],
    )


def _widths(packs: Sequence[Pack], limit: int) -> Iterator[int]:
    """Yield the widths that are tried: a few times that of the longest pack, its half and so on."""
    width = min(limit, _WIDEST * max(len(pack.tokens) for pack in packs))
    shortest = min(len(pack.tokens) for pack in packs)
    while width >= 2 * shortest:
        yield width
        width //= 2


def _filled(packs: Sequence[Pack], width: int) -> list[Pack]:
    """Put every pack, the longest first, into the first sequence that has room for it."""
    sequences: list[list[Pack]] = []
    room: list[int] = []
    for pack in sorted(packs, key=lambda pack: len(pack.tokens), reverse=True):
        size = len(pack.tokens)
        place = next((index for index, free in enumerate(room) if free >= size), len(room))
        if place == len(room):
            sequences.append([])
            room.append(width)
        sequences[place].append(pack)
        room[place] -= size
    return [some[0] if len(some) == 1 else join(some) for some in sequences]

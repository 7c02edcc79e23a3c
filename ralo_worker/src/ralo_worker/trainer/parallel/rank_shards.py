"""The packs of a batch, and the parameters of a model, split over the ranks of a group.

Every rank splits by itself, with the same result, so nothing is sent.
"""

import heapq
from collections.abc import Mapping, Sequence

from ralo_worker.trainer.layout.packs import Pack


def split(costs: Sequence[float], ranks: int) -> list[list[int]]:
    """Return the indices of `costs` that each rank takes: the largest first, each to the rank that
    has least so far. No rank is then more than one item above another."""
    loads = [(0.0, rank) for rank in range(ranks)]
    shards: list[list[int]] = [[] for _ in range(ranks)]
    for index in sorted(range(len(costs)), key=lambda index: (-costs[index], index)):
        load, rank = heapq.heappop(loads)
        shards[rank].append(index)
        heapq.heappush(loads, (load + costs[index], rank))
    return shards


def split_packs(packs: Sequence[Pack], ranks: int, pair_cost: float) -> list[list[Pack]]:
    """Return the packs of each rank, of about equal cost; `pair_cost` is that of `make_packs`."""
    sizes = [len(pack.tokens) for pack in packs]
    costs = [size + pair_cost * size**2 for size in sizes]
    return [[packs[index] for index in shard] for shard in split(costs, ranks)]


def owners(sizes: Mapping[str, int], ranks: int) -> dict[str, int]:
    """Return the rank that owns each parameter, by name: each rank gets about as many values."""
    names = sorted(sizes)
    shards = split([sizes[name] for name in names], ranks)
    owned = {names[index]: rank for rank, shard in enumerate(shards) for index in shard}
    return {name: owned[name] for name in names}

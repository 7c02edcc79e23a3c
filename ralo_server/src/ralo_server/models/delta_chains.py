"""The chain of deltas between two versions, as far as it is shorter than the whole version.

The learner makes the deltas one by one. A delta lies in the folder of the version that it leads to,
so a chain ends where that version was pruned.
"""

from ralo_core.data import DeltaLink, WeightVersion
from ralo_server.store.versions import Versions


def chain_from(versions: Versions, start: int, version: WeightVersion) -> tuple[DeltaLink, ...]:
    """Return the links that lead from version `start` to `version`, in the order in which they
    are applied; none if one is missing or they have as many bytes as the version."""
    links: list[DeltaLink] = []
    reached: WeightVersion | None = version
    while reached is not None and reached.deltas:
        delta = reached.deltas[0]
        links.append(DeltaLink(version=reached.number, delta=delta))
        if delta.base == start:
            shorter = sum(link.delta.file.size for link in links) < version.size
            return tuple(reversed(links)) if shorter else ()
        reached = versions.get(delta.base)
    return ()

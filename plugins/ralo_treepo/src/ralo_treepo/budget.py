"""The width arithmetic of tree sampling: whole numbers out.

In what follows: w width, F leaves so far,
e leaves that ended this round, a live paths, N branching factor.
"""

from collections.abc import Sequence


def round_width(width: int, leaves: int, ended: int, alive: int, branch: int) -> int:
    """Return ``max(a, min(max(w - F, 0), N e + N a))``, the paths of the next round.

    `leaves` counts those that ended this round. Every live path goes on at least once; what
    ended paths would have had goes to the live ones (branching budget transfer). Starting with
    at most w paths, ``leaves + paths`` never exceeds w.
    """
    return max(alive, min(max(width - leaves, 0), branch * (ended + alive)))


def split_evenly(total: int, paths: int) -> list[int]:
    """Return how many copies each of `paths` gets of `total`; they differ by at most one.

    The release gives the whole remainder to the last path; one by one is fairer.
    """
    share, rest = divmod(total, paths)
    return [share + (index < rest) for index in range(paths)]


def split_by_weight(total: int, weights: Sequence[float]) -> list[int]:
    """Return copies per path: one each, the rest by `weights` (sum 1) and largest remainder.

    Ties go to the earlier path. `total` is at least the number of paths.
    """
    spare = total - len(weights)
    shares = [spare * weight for weight in weights]
    copies = [1 + int(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda index: int(shares[index]) - shares[index])
    for index in by_remainder[: total - sum(copies)]:
        copies[index] += 1
    return copies


def fallback_width(missing: int, candidates: int, branch: int) -> list[int]:
    """Return the copies of each candidate in order, ``min(N, what is left)``.

    One pass over the candidates; what is left after it waits for the next fallback.
    """
    copies = []
    for _ in range(candidates):
        copies.append(min(branch, missing))
        missing -= copies[-1]
    return copies

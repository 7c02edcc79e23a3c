"""Which trained trees are kept: the newest, and some of every n-th step for good.

The others are removed after every step. The choice depends on the steps that there are and on the
settings alone, so no row is marked, and it is right after a restart, a rollback (steps are counted
on) and with other settings.
"""

from collections.abc import Sequence

from ralo_core.config import RolloutsSettings


def kept_rollouts(
    trees: Sequence[tuple[int, int]], newest_step: int, settings: RolloutsSettings
) -> set[int]:
    """Return the numbers to be kept out of `trees`, which are (number, step) by number."""
    last = trees[-settings.keep_last :] if settings.keep_last else ()
    kept = {number for number, _ in last}
    stride = lasting_stride(newest_step, settings)
    taken: dict[int, int] = {}
    for number, step in trees if stride else ():
        if step % stride == 0 and taken.get(step, 0) < settings.keep_per_step:
            taken[step] = taken.get(step, 0) + 1
            kept.add(number)
    return kept


def lasting_stride(newest_step: int, settings: RolloutsSettings) -> int:
    """Return n where every n-th step keeps trees for good, 0 where none does: ``keep_every``,
    doubled until there can be no more trees than ``keep_at_most``."""
    stride = settings.keep_every
    while stride and newest_step // stride * settings.keep_per_step > settings.keep_at_most:
        stride *= 2
    return stride

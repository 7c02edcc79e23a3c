"""When a trainer that was told to stop does so, and how ranks that compute in step keep in step.

A trainer may stop between any two micro-batches. Ranks that share a sharded policy gather its
parameters in every forward and backward pass, so all must take as many, and stop at the same one:
who has fewer micro-batches takes idle turns.

Neighbours: `objective` asks before every micro-batch, `runtime` chooses the pace.
"""

import threading
from typing import ClassVar

import attrs

from ralo_worker.trainer.parallel.group import Channel


class Halted(Exception):  # noqa: N818 (it is no error)
    """Raised between two micro-batches of a trainer that was told to stop."""


@attrs.frozen(eq=False)
class StopCheck:
    """The pace of a rank that computes by itself, until `stopping`."""

    stopping: threading.Event = attrs.field(factory=threading.Event)
    common: ClassVar[bool] = False
    """Whether ranks must take their turns together."""

    def turns(self, count: int) -> int:
        """Return how many turns are to be taken by a rank that has `count` micro-batches."""
        return count

    def check(self) -> None:
        """Raise `Halted` if the trainer was told to stop."""
        if self.stopping.is_set():
            raise Halted


@attrs.frozen(eq=False)
class CommonPace(StopCheck):
    """The pace of ranks that compute in step, over `channel`."""

    channel: Channel = attrs.field(factory=Channel)
    common: ClassVar[bool] = True

    def turns(self, count: int) -> int:
        """Return the micro-batches of the rank that has most."""
        return max(self.channel.gather(count))

    def check(self) -> None:
        """Raise `Halted` on all ranks if one was told to stop."""
        if any(self.channel.gather(self.stopping.is_set())):
            raise Halted

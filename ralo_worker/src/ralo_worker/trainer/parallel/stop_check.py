"""When a trainer that was told to stop does so, and how ranks that compute in step keep in step.

A trainer may stop between any two micro-batches. Ranks that share a sharded policy gather its
parameters in every forward and backward pass. So all of them must run as many passes and stop at
the same one: a rank that has fewer micro-batches than another runs idle ones.
"""

import threading
from typing import ClassVar

import attrs

from ralo_worker.trainer.parallel.group import Channel


class Halted(Exception):  # noqa: N818 (it is no error)
    """Raised between two micro-batches of a trainer that was told to stop."""


@attrs.frozen(eq=False)
class StopCheck:
    """The check of a rank that computes by itself: whether `stopping` is set."""

    stopping: threading.Event = attrs.field(factory=threading.Event)
    in_step: ClassVar[bool] = False
    """Whether the ranks must run their micro-batches together."""

    def steps(self, count: int) -> int:
        """Return how many micro-batches a rank runs that has `count` of its own."""
        return count

    def check(self) -> None:
        """Raise `Halted` if the trainer was told to stop."""
        if self.stopping.is_set():
            raise Halted


@attrs.frozen(eq=False)
class CommonStopCheck(StopCheck):
    """The check of ranks that compute in step: they ask each other over `channel`."""

    channel: Channel = attrs.field(factory=Channel)
    in_step: ClassVar[bool] = True

    def steps(self, count: int) -> int:
        """Return the micro-batches of the rank that has most; every rank must call it."""
        return max(self.channel.gather(count))

    def check(self) -> None:
        """Raise `Halted` on all ranks if one was told to stop; every rank must call it."""
        if any(self.channel.gather(self.stopping.is_set())):
            raise Halted

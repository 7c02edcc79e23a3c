"""Where a trainer's time goes: seconds per phase, of the main thread and of what runs beside it.

    waiting   for a batch that is not there          fetch    asking for it and receiving it
    weights   swapping them                          encode   a gradient, for the wire
    compute   forward and backward                   send     it, until the orchestrator has it
    reduce    the gradient over the ranks
    upload    waiting until the one before is sent

On the left the phases of the main thread, which add up to its time. On the right those of the
threads beside it, where the run overlaps them. Heartbeats report them.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ralo_worker.membership import Activity

WORK = ("weights", "compute", "reduce")
WAITS = ("waiting", "upload")


class Phases:
    """Books into the `activity` of a worker; for several threads."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Book the seconds of the block under `name`."""
        started = time.monotonic()
        if name in WORK:
            self._activity.working_since = started
        try:
            yield
        finally:
            self._book(name, time.monotonic() - started)

    def _book(self, name: str, seconds: float) -> None:
        with self._lock:
            booked = self._activity.phases
            self._activity.phases = {**booked, name: booked.get(name, 0.0) + seconds}
            if name in WORK:
                with self._activity.lock:
                    self._activity.working_seconds += seconds
                    self._activity.working_since = None
            elif name in WAITS:
                self._activity.waiting_seconds += seconds

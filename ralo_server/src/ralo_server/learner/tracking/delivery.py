"""Hands the records of a run to one tracker, in order, on a thread of its own.

A tracker that fails is asked again, after longer and longer pauses. No record is left out, and
neither the learner nor another tracker waits.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import attrs

from ralo_core.protocols import SettlingTracker, Tracker
from ralo_server.store.records import Record, Records

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_BUSY_SECONDS = 60.0
"""A call that takes longer is logged: a tracker may hang on a network."""


@attrs.define
class Delivery:
    """The records of a run on their way to `tracker`, which the config calls `name`."""

    name: str
    tracker: Tracker
    records: Records
    failing: bool = attrs.field(default=False, init=False)
    _given: int = attrs.field(default=-1, init=False)
    _unsettled: deque[tuple[int, float]] = attrs.field(factory=deque, init=False)
    _calling_since: float | None = attrs.field(default=None, init=False)
    _called_slow: bool = attrs.field(default=False, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    _wake: threading.Event = attrs.field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)

    def start(self) -> None:
        """Begin; the thread does not keep the process from ending."""
        self._thread = threading.Thread(target=self._run, name=f"tracker-{self.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there are new records."""
        self._wake.set()

    def close(self) -> None:
        """Let the tracker have what is left, once, and close it; `join` waits for that."""
        self._closing = True
        self._wake.set()

    def join(self, seconds: float) -> bool:
        """Wait until the thread has ended, for at most so long; return whether it has."""
        assert self._thread is not None
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def look(self) -> None:
        """Log once that a call of the tracker does not return, and that it has returned."""
        since = self._calling_since
        slow = since is not None and time.monotonic() - since > _BUSY_SECONDS
        if slow and not self._called_slow:
            log.warning(
                "tracker %s has not returned for %g s; its records wait, the run continues",
                self.name,
                _BUSY_SECONDS,
            )
        elif self._called_slow and not slow:
            log.info("tracker %s has returned", self.name)
        self._called_slow = slow

    def deliver(self) -> bool:
        """Give the tracker all records that it has not got; return False where it failed."""
        if self._given < 0:
            self._given = self.records.position(self.name)
        while records := self.records.after(self._given):
            for record in records:
                if not self._give(record):
                    self._go_back()
                    return False
        return True

    def finish(self) -> None:
        """Give what is left, close the tracker and mark what it then has for good."""
        self.deliver()
        if self._called("close", self.tracker.close) and self._unsettled:
            self._mark(self._unsettled[-1][0])

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._closing:
            self._wake.clear()
            if self.deliver():
                pause = _FIRST_PAUSE_SECONDS
                self._wake.wait(self._until_settled())
            else:
                self._rest(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            self._settle()
        self.finish()

    def _rest(self, seconds: float) -> None:
        """Wait before the next try, also when records are added meanwhile."""
        end = time.monotonic() + seconds
        while not self._closing and (left := end - time.monotonic()) > 0:
            self._wake.wait(left)
            if not self._closing:
                self._wake.clear()

    def _give(self, record: Record) -> bool:
        if not self._called("log", lambda: self.tracker.log(record.step, record.metrics)):
            return False
        self._given = record.number
        if isinstance(self.tracker, SettlingTracker):
            self._unsettled.append((record.number, time.monotonic() + self.tracker.settle_seconds))
        else:
            self._mark(record.number)
        return True

    def _go_back(self) -> None:
        """After a failure give again what was not safe with the tracker yet."""
        self._given = -1
        self._unsettled.clear()

    def _called(self, what: str, call: Callable[[], None]) -> bool:
        """Return whether a call of the tracker succeeded; log where that has changed."""
        self._calling_since = time.monotonic()
        try:
            call()
        except Exception as error:  # noqa: BLE001 (a plugin or a network may raise anything)
            self._failed(what, error)
            return False
        finally:
            self._calling_since = None
        if self.failing:
            self.failing = False
            log.info("tracker %s takes records again", self.name)
        return True

    def _failed(self, what: str, error: Exception) -> None:
        if not self.failing:
            log.warning(
                "tracker %s: %s failed with %s: %s; %d records wait and are tried again",
                self.name,
                what,
                type(error).__name__,
                error,
                self.records.waiting(self.name),
                exc_info=log.isEnabledFor(logging.DEBUG),
            )
        self.failing = True

    def _until_settled(self) -> float | None:
        return max(0.0, self._unsettled[0][1] - time.monotonic()) if self._unsettled else None

    def _settle(self) -> None:
        """Mark what has been with the tracker for long enough."""
        last = None
        while self._unsettled and self._unsettled[0][1] <= time.monotonic():
            last = self._unsettled.popleft()[0]
        if last is not None:
            self._mark(last)

    def _mark(self, number: int) -> None:
        self.records.take(self.name, number)

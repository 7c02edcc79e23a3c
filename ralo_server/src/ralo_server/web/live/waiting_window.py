"""How much of the last 30 seconds the workers of a role waited.

The totals of a worker begin with its start, and a start is mostly waiting: a run that is well in
balance would be called short of samplers for minutes. So the totals of 30 seconds ago are kept
here, in memory. A web process that has just started has none yet; nor has one that nobody asked.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

import attrs

from ralo_core.messages.stats import WorkerStats

_WINDOW_SECONDS = 30.0
_APART_SECONDS = 1.0
"""However often the state is asked for, so many points are kept at most: 31."""
_LEAST_SECONDS = 10.0
"""Workers report every two seconds: a shorter window says more about reports than about work."""
_LEAST_BOOKED = 0.5
"""A worker reports a piece of work when it is done. Where less of the window is booked than this,
the piece under way is longer than the window, and its waiting alone would count."""

_NOTHING = (0.0, 0.0)


@attrs.frozen
class Waiting:
    """The share of their time that the workers of a role waited, None where it is unknown.

    `recent` is False where it is the share since these workers started.
    """

    share: float | None
    recent: bool = False


@attrs.frozen
class _Point:
    """The seconds that each worker had worked and waited at a moment, by its id."""

    time: float
    spent: Mapping[str, tuple[float, float]]


@attrs.define
class WaitingWindow:
    """The totals of all workers during the last 30 seconds; any thread may ask."""

    _points: deque[_Point] = attrs.field(factory=deque, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def waiting(self, workers: Sequence[WorkerStats], *roles: str) -> list[Waiting]:
        """Record what `workers` report now; return how those of each role that are here waited."""
        now = time.monotonic()
        here = [worker for worker in workers if worker.alive]
        spent = {one.id: (one.working_seconds, one.waiting_seconds) for one in here}
        oldest = self._add(_Point(now, spent))
        groups = [[worker.id for worker in here if worker.role == role] for role in roles]
        return [_waiting(group, spent, oldest, now - oldest.time) for group in groups]

    def _add(self, point: _Point) -> _Point:
        """Keep a point if the last is not too near; return the oldest of the window."""
        with self._lock:
            while self._points and point.time - self._points[0].time > _WINDOW_SECONDS:
                self._points.popleft()
            if not self._points or point.time - self._points[-1].time >= _APART_SECONDS:
                self._points.append(point)
            return self._points[0]


def _waiting(
    group: Sequence[str],
    spent: Mapping[str, tuple[float, float]],
    oldest: _Point,
    seconds: float,
) -> Waiting:
    worked = waited = 0.0
    for name in group:
        work, wait = spent[name]
        work_before, wait_before = oldest.spent.get(name, _NOTHING)
        if work < work_before or wait < wait_before:  # started again under the same id
            work_before, wait_before = _NOTHING
        worked += work - work_before
        waited += wait - wait_before
    booked = worked + waited
    if seconds >= _LEAST_SECONDS and booked and booked >= _LEAST_BOOKED * seconds * len(group):
        return Waiting(waited / booked, recent=True)
    worked, waited = (sum(spent[name][index] for name in group) for index in (0, 1))
    return Waiting(waited / (worked + waited) if worked + waited else None)

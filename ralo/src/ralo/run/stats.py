"""Rates over time, computed from successive replies to ``GET /stats``."""

import time
from collections import deque
from collections.abc import Callable

import attrs

from ralo_core.messages.stats import Stats

_WINDOW_SECONDS = 15.0


@attrs.define
class History:
    """The last 15 seconds of stats, and the rates over them."""

    _points: deque[tuple[float, Stats]] = attrs.field(factory=deque, init=False)

    def add(self, stats: Stats) -> None:
        """Add one reply to ``/stats``."""
        now = time.monotonic()
        self._points.append((now, stats))
        while now - self._points[0][0] > _WINDOW_SECONDS and len(self._points) > 2:
            self._points.popleft()

    @property
    def latest(self) -> Stats:
        """The newest reply; there must be one, see `__bool__`."""
        return self._points[-1][1]

    def __bool__(self) -> bool:
        """Say whether there has been a reply."""
        return bool(self._points)

    def rate(self, count: Callable[[Stats], int]) -> float:
        """Return the growth per second of what `count` reads from a reply."""
        if len(self._points) < 2:
            return 0.0
        (t0, old), (t1, new) = self._points[0], self._points[-1]
        return max(0.0, (count(new) - count(old)) / max(t1 - t0, 1e-6))

    def decoding_rate(self) -> float:
        """Return decoded tokens per second."""
        return self.rate(lambda stats: stats.tokens.decoded)

    def training_rate(self) -> float:
        """Return trained rollouts per second."""
        return self.rate(lambda stats: stats.rollouts.trained)

    def step_rate(self) -> float:
        """Return optimizer steps per second."""
        return self.rate(lambda stats: stats.step)

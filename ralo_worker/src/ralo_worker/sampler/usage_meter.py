"""How an engine was used over the last seconds, computed from several readings of its `stats`."""

from collections import deque

import attrs

from ralo_core import EngineStats
from ralo_core.data import EngineReport

WINDOW_SECONDS = 10.0


@attrs.define
class UsageMeter:
    """Readings of an engine of `capacity` requests, over `WINDOW_SECONDS`."""

    capacity: int
    _readings: deque[tuple[float, EngineStats]] = attrs.field(factory=deque, init=False)

    def read(self, now: float, stats: EngineStats) -> EngineReport:
        """Add the reading of the moment `now`, in seconds of any clock; return the report."""
        self._readings.append((now, stats))
        while len(self._readings) > 1 and now - self._readings[1][0] >= WINDOW_SECONDS:
            self._readings.popleft()
        since, first = self._readings[0]
        seconds = max(now - since, 1e-9)
        prompt = stats.prompt_tokens - first.prompt_tokens
        cached = stats.cached_tokens - first.cached_tokens
        return EngineReport(
            capacity=self.capacity,
            running=stats.running,
            waiting=stats.waiting,
            tokens_per_second=(stats.decoded_tokens - first.decoded_tokens) / seconds,
            utilisation=self._utilisation(),
            cache_hits=cached / prompt if prompt else 0.0,
            decoded_tokens=stats.decoded_tokens,
            prompt_tokens=stats.prompt_tokens,
            cached_tokens=stats.cached_tokens,
        )

    def _utilisation(self) -> float:
        used = [min(stats.running, self.capacity) for _, stats in self._readings]
        return sum(used) / (len(used) * self.capacity)

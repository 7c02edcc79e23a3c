"""Rates over time, computed from successive replies to ``GET /stats``."""

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import attrs

_WINDOW_SECONDS = 15.0

Stats = Mapping[str, Any]


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
        """The newest reply, empty before the first."""
        return self._points[-1][1] if self._points else {}

    def rate(self, section: str, key: str) -> float:
        """Return the growth of ``stats[section][key]`` per second."""
        if len(self._points) < 2:
            return 0.0
        (t0, old), (t1, new) = self._points[0], self._points[-1]
        return max(0.0, float(new[section][key] - old[section][key]) / max(t1 - t0, 1e-6))

    def step_rate(self) -> float:
        """Return optimizer steps per second."""
        if len(self._points) < 2:
            return 0.0
        (t0, old), (t1, new) = self._points[0], self._points[-1]
        return max(0.0, float(new["step"] - old["step"]) / max(t1 - t0, 1e-6))

    def waiting_share(self, role: str) -> float | None:
        """Return the share of time that workers of `role` waited, None where unknown."""
        if len(self._points) < 2:
            return None
        old, new = self._points[0][1], self._points[-1][1]
        before = {worker["id"]: worker for worker in old["workers"]}
        waited = worked = 0.0
        for worker in new["workers"]:
            earlier = before.get(worker["id"])
            if worker["role"] == role and earlier is not None:
                waited += worker["waiting_seconds"] - earlier["waiting_seconds"]
                worked += worker["working_seconds"] - earlier["working_seconds"]
        total = waited + worked
        return waited / total if total > 0.5 else None

    def utilisation(self) -> float | None:
        """Return how full the engines of living samplers are on average, None where unknown."""
        workers = self.latest.get("workers", ())
        engines = [worker["engine"] for worker in workers if worker["alive"] and "engine" in worker]
        places = sum(engine["capacity"] for engine in engines)
        used = sum(engine["utilisation"] * engine["capacity"] for engine in engines)
        return used / places if places else None

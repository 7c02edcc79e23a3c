"""The steps of ``/stats``: at most 200, evenly thinned, for views that draw no finer.

Charts that want all steps ask `step_history`. Each step is read once: of those that were shown
before, most are shown again.
"""

import json
import threading
from typing import Any

from ralo_server.store.database import Database

_MOST = 200


class ShownSteps:
    """The shown steps of a run; any thread may ask."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: dict[int, dict[str, Any]] = {}

    def all(self) -> list[dict[str, Any]]:
        """Return the metrics of at most 200 steps, the first and the last among them.

        Only the last has its metrics in parts (``stop/eos``): nobody draws them all.
        """
        with self._lock:
            last = int(self._database.value("SELECT MAX(step) FROM steps") or 0)
            numbers = shown_numbers(last)
            self._read([number for number in numbers if number not in self._known])
            self._known = {n: self._known[n] for n in numbers if n in self._known}
            shown = list(self._known.items())
        return [metrics if number == last else _without_parts(metrics) for number, metrics in shown]

    def _read(self, numbers: list[int]) -> None:
        marks = ",".join("?" * len(numbers))
        rows = self._database.rows(
            f"SELECT step, metrics FROM steps WHERE step IN ({marks})",  # noqa: S608
            *numbers,
        )
        self._known.update({int(row["step"]): json.loads(row["metrics"]) for row in rows})


def shown_numbers(last: int) -> list[int]:
    """Return which of the steps from 1 to `last` are shown, ascending.

    Multiples of a power of two: as a run goes on the same steps are shown, until every second of
    them goes.
    """
    if last <= _MOST:
        return list(range(1, last + 1))
    stride = 2
    while last // stride > _MOST - 2:
        stride *= 2
    return sorted({1, *range(stride, last + 1, stride), last})


def _without_parts(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if "/" not in name}

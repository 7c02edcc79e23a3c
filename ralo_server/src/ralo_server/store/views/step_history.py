"""The metrics of all steps as columns in memory, and series thinned out of them.

A committed step is never changed nor removed, not by a rollback either, so only rows after the last
one that was seen are read: 10,000 steps are read once, and a question costs no JSON.
"""

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_ROOM = 256
_BLOCK = 100
"""Steps that are read at once: parsing them holds up every other thread of the process."""
_NEWER = "SELECT step, metrics FROM steps WHERE step > ? ORDER BY step LIMIT ?"


@attrs.frozen(kw_only=True)
class Series:
    """`steps` int64[n], and per metric float64[n], NaN where no step of a bucket has it.

    `last_step` is the newest step there is, 0 before the first.
    """

    last_step: int
    steps: Int64
    values: Mapping[str, Float64]


class StepHistory:
    """The steps of a run, asked for with `rows`, which is `Database.rows`; any thread may ask."""

    def __init__(self, rows: Callable[..., Sequence[Any]]) -> None:
        self._rows = rows
        self._lock = threading.Lock()
        self._steps: Int64 = np.empty(_ROOM, np.int64)
        self._columns: dict[str, Float64] = {}
        self._count = 0

    def names(self) -> list[str]:
        """Return the names of all metrics that any step has."""
        with self._lock:
            self._read_newer()
            return sorted(self._columns)

    def series(
        self, names: Sequence[str], points: int, after: int = 0, until: int | None = None
    ) -> Series:
        """Return the steps after `after`, up to `until` where it is given, as at most `points`
        means over as many steps each.

        A bucket is named by its last step; only the newest may be smaller than the others. A
        metric that no step has is NaN everywhere.
        """
        with self._lock:
            self._read_newer()
            known = self._steps[: self._count]
            first = int(np.searchsorted(known, after, side="right"))
            end = len(known) if until is None else int(np.searchsorted(known, until, side="right"))
            end = max(first, end)
            steps = known[first:end].copy()
            columns = {
                name: self._columns[name][first:end].copy()
                for name in names
                if name in self._columns
            }
            last = int(known[-1]) if len(known) else 0
        width = max(1, math.ceil(len(steps) / points))
        starts = np.arange(0, len(steps), width)
        absent = np.full(len(starts), np.nan)
        return Series(
            last_step=last,
            steps=steps[np.minimum(starts + width, len(steps)) - 1],
            values={
                name: _means(columns[name], starts) if name in columns else absent for name in names
            },
        )

    def _read_newer(self) -> None:
        while True:
            last = int(self._steps[self._count - 1]) if self._count else 0
            rows = self._rows(_NEWER, last, _BLOCK)
            if rows:
                metrics = json.loads(f"[{','.join(row['metrics'] for row in rows)}]")
                self._append([int(row["step"]) for row in rows], metrics)
            if len(rows) < _BLOCK:
                return

    def _append(self, steps: Sequence[int], metrics: Sequence[Mapping[str, Any]]) -> None:
        begin, end = self._count, self._count + len(steps)
        while end > len(self._steps):
            self._steps = np.concatenate([self._steps, np.empty_like(self._steps)])
            self._columns = {name: _doubled(column) for name, column in self._columns.items()}
        for name in {name for values in metrics for name in values}:
            if name not in self._columns:
                self._columns[name] = np.full(len(self._steps), np.nan)
            self._columns[name][begin:end] = _numbers([values.get(name) for values in metrics])
        self._steps[begin:end] = steps
        self._count = end


def _numbers(values: Sequence[Any]) -> Float64:
    try:
        return np.array(values, np.float64)  # None becomes NaN
    except (TypeError, ValueError):
        known = [value if isinstance(value, int | float) else math.nan for value in values]
        return np.array(known, np.float64)


def _doubled(column: Float64) -> Float64:
    return np.concatenate([column, np.full(len(column), np.nan)])


def _means(values: Float64, starts: Int64) -> Float64:
    """Return the mean of what is known of each bucket, NaN where nothing is."""
    if not len(starts):
        return values
    known = np.isfinite(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts)
    counts = np.add.reduceat(known.astype(np.int64), starts)
    means: Float64 = np.full(len(starts), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means

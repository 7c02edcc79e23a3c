"""Curves of metrics out of a run's ``metrics.jsonl``: no orchestrator is needed for them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ralo_core.errors import RaloError, nearest
from ralo_server.rundir.directory import RunDirectory

MINUTES, STEP = "minutes", "step"

Row = Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Curve:
    """The values of one metric over `x`; `low` and `high` are a result's interval, or empty."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def read_metrics(run: Path) -> list[Row]:
    """Return the rows of a run's ``metrics.jsonl``, or raise `RaloError` naming file and line."""
    path = RunDirectory(run).metrics_file
    if not path.exists():
        msg = f"{path} does not exist: is {run} a run directory, and has it taken a step?"
        raise RaloError(msg)
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]  # the run may be writing the next line
    rows = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            msg = f"{path}, line {number} is no JSON: {error}"
            raise RaloError(msg) from error
    return rows


def curve(rows: Sequence[Row], metric: str, x: str) -> Curve | None:
    """Return the curve of `metric` over `MINUTES` of work or the optimizer `STEP`; None where no
    row has it. An evaluation is placed where its version was made, however late its result came."""
    bounds = (f"{metric}/low", f"{metric}/high")
    known = sorted(
        (row for row in rows if row.get(metric) is not None), key=lambda row: float(row["step"])
    )
    if not known:
        return None
    with_bounds = all(row.get(bound) is not None for row in known for bound in bounds)
    low, high = ([row[bound] for row in known] if with_bounds else [] for bound in bounds)
    places = [row["step"] if x == STEP else row["elapsed_seconds"] / 60 for row in known]
    return Curve(x=places, y=[row[metric] for row in known], low=low, high=high)


def check_known(metric: str, rows: Mapping[Path, Sequence[Row]]) -> None:
    """Raise `RaloError` with the nearest name for a metric that no run has."""
    names = {name for of_run in rows.values() for row in of_run for name in row}
    if metric not in names:
        runs = ", ".join(map(str, rows))
        msg = f"no step of {runs} has the metric {metric!r}{nearest(metric, sorted(names))}"
        raise RaloError(msg)


def smooth(values: Sequence[float], weight: float) -> list[float]:
    """Return the exponential moving average with bias correction, as Adam's first moment; `weight`
    is that of what came before, 0 for none."""
    smoothed, mean = [], 0.0
    for count, value in enumerate(values, 1):
        mean = weight * mean + (1 - weight) * value
        smoothed.append(mean / (1 - weight**count))
    return smoothed

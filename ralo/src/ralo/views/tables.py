"""Steps and evaluations of a run as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from ralo.views.results import Result
from ralo.views.top import short

STEP_COLUMNS = (
    "reward", "solved", "response_tokens", "entropy", "clip_fraction", "staleness", "grad_norm",
    "tokens_per_second", "step_seconds",
)  # fmt: skip
"""Metrics of a step that are shown unless others are asked for."""


def step_table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    """Return a line per step and a column per metric; a metric that no step has gets none."""
    shown = [name for name in names if any(row.get(name) is not None for row in rows)]
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for heading in ("step", *shown):
        table.add_column(heading.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(str(row["step"]), *(_number(row.get(name)) for name in shown))
    return table


def metric_table(row: Mapping[str, Any]) -> Table:
    """Return all metrics of one step, one below the other."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    for name, value in sorted(row.items()):
        if value is not None:
            table.add_row(name, f"{value:,.6g}")
    return table


def evaluation_table(results: Sequence[Result]) -> Table:
    """Return a line per result and metric, with its 95 % interval."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("benchmark", no_wrap=True)
    for heading in ("v", "step", "items", "samples"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    for heading in ("value", "95 % interval", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        counts = [str(result[name]) for name in ("version", "step", "items", "samples")]
        for name, estimate in result["metrics"].items():
            interval = f"{estimate['low']:.1%} to {estimate['high']:.1%}"
            value, seconds = f"{estimate['value']:.1%}", f"{result['seconds']:.1f}"
            style = "dim" if result.get("abandoned") else ""
            cells = (name, value, interval, seconds)
            table.add_row(result["benchmark"], *counts, *cells, style=style)
    return table


def _number(value: float | None) -> str:
    return "" if value is None else short(value)

"""The screen of ``ralo top``: state, curves, queues, workers, results, and what limits the run.

It fits the terminal that it is given: a narrow one gets shorter curves, a low one fewer workers.
"""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ralo.run.stats import History
from ralo.views.chart import chart
from ralo.views.results import newest, title
from ralo.views.sparkline import sparkline
from ralo.views.view import clock, eta, late_trackers, numbers, tree_line
from ralo.views.worker_table import worker_table
from ralo_core.messages.evaluations import Evaluation
from ralo_core.messages.stats import Stats

CURVES = {
    "reward": "reward",
    "solved": "solved",
    "response_tokens": "tokens",
    "entropy": "entropy",
    "staleness": "staleness",
    "tokens_per_second": "tokens/s",
}
"""Metrics that are drawn, where the run has them, with what they are called here."""

_LABEL_WIDTH, _NUMBER_WIDTH = 10, 9
_FEWEST_WORKERS = 2
_TALL = 36
"""Lines from which on the reward has a larger picture."""


def screen(history: History, console: Console, trouble: str = "") -> RenderableType:
    """Return the screen for a terminal of `console`'s size; `trouble` is why there is no news."""
    width, height = console.size
    if not history:
        return Text(trouble or "waiting for the first reply of the server", "yellow")
    stats = history.latest
    parts: list[RenderableType] = [
        _heading(history),
        *([_picture(stats, width)] if height >= _TALL else []),
        _curves(stats, width),
        numbers(history, width),
        *_lines(stats),
        *_results(stats),
    ]
    end: list[RenderableType] = [Text(stats.bottleneck, "cyan")]
    if stats.last_error:
        end.append(Text(f"last error: {stats.last_error}", "red", no_wrap=True))
    if trouble:
        end.append(Text(trouble, "yellow"))
    used = sum(len(console.render_lines(part, pad=False)) for part in (*parts, *end))
    return Group(*parts, _workers(stats, max(_FEWEST_WORKERS, height - used - 2)), *end)


def _heading(history: History) -> RenderableType:
    stats = history.latest
    left = Text.assemble(
        (f"RALO {stats.run}", "bold"),
        f" ({stats.recipe or 'no recipe'})  ",
        (stats.state, "green" if stats.state == "running" else "yellow"),
    )
    right = f"{clock(stats.elapsed_seconds)}  ETA {eta(history)}"
    grid = Table.grid(expand=True)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(left, right)
    return grid


def _picture(stats: Stats, width: int) -> RenderableType:
    rewards = stats.metric("reward")
    return Group(
        Text("reward per step", "bold"),
        Text("\n".join(chart(rewards, width=min(100, width - 16))), "green", no_wrap=True),
    )


def _curves(stats: Stats, width: int) -> RenderableType:
    """Return a line per metric: its name, its course, its last value and its range."""
    table = Table.grid(padding=(0, 1))
    room = max(10, width - _LABEL_WIDTH - 3 * _NUMBER_WIDTH - 6)
    for name, label in CURVES.items():
        values = stats.metric(name)
        if values:
            ends = f"{short(min(values))} to {short(max(values))}"
            bars = Text(sparkline(values, room), "green")
            table.add_row(label, Text(short(values[-1]), "bold"), bars, Text(ends, "dim"))
    return table


def _lines(stats: Stats) -> Sequence[RenderableType]:
    """Return the lines that are not always there."""
    shards, late = stats.evaluation, late_trackers(stats)
    lines = [tree_line(stats)]
    if shards.waiting + shards.leased:
        lines.append(
            f"evaluation: {shards.waiting} shards waiting, {shards.leased} being evaluated"
        )
    if late:
        lines.append(late)
    return [Text(line, no_wrap=True, overflow="ellipsis") for line in lines if line]


def _results(stats: Stats) -> Sequence[RenderableType]:
    """Return the newest result of each benchmark in a line of its own."""
    return [
        Text(f"{title(result.benchmark)}: {estimates(result)}", no_wrap=True, overflow="ellipsis")
        for result in newest(stats.evaluations)
    ]


def estimates(result: Evaluation) -> str:
    """Return the metrics of a result with their intervals, and its version."""
    parts = [
        f"{name} {estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"
        for name, estimate in result.metrics.items()
    ]
    return f"{', '.join(parts)} (v{result.version}, {result.items} items)"


def _workers(stats: Stats, most: int) -> RenderableType:
    """Return the table of workers, those here first, at most so many lines of them."""
    there = sorted(stats.workers, key=lambda worker: not worker.alive)
    if len(there) <= most:
        return worker_table(there)
    more = Text(f"and {len(there) - most + 1} more workers", "dim")
    return Group(worker_table(there[: most - 1]), more)


def short(value: float) -> str:
    """Return a number in at most seven characters or so."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

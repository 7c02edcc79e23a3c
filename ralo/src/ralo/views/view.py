"""What a person sees of a run: a live panel, plain lines with ``--plain``, or its status, once.

The views draw and decide nothing.
"""

import time
from collections.abc import Sequence
from typing import Protocol

import attrs
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ralo.run.stats import History
from ralo.views.chart import chart
from ralo.views.results import HELD_OUT, headline, newest
from ralo.views.worker_table import worker_table
from ralo_core.messages.stats import Stats

_SHOWN_STOPS = 3
_GAP = "   "
_LATE_SECONDS = 60.0
"""A tracker that is behind by less is not late: it is at work."""
_WIDE = 110
"""Columns from which on two rows of numbers stand under each other."""


class View(Protocol):
    """Shows the state of the run."""

    def show(self, history: History) -> None:
        """Draw the newest state."""

    def close(self) -> None:
        """Give the terminal back."""


@attrs.define
class PlainView:
    """A line every `seconds`, for logs and for terminals that cannot redraw."""

    console: Console
    seconds: float = 5.0
    _next: float = attrs.field(default=0.0, init=False)
    _shown: str = attrs.field(default="", init=False)

    def show(self, history: History) -> None:
        """Print a line if it is time for one."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.seconds
        self.console.print(plain_line(history), highlight=False, soft_wrap=True)
        sentence = history.latest.bottleneck
        if sentence.split(":")[0] != self._shown:
            self._shown = sentence.split(":")[0]
            self.console.print(f"  {sentence}", highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Do nothing: plain lines hold no terminal."""


class LiveView:
    """A panel that redraws in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def show(self, history: History) -> None:
        """Redraw the panel."""
        self._live.update(panel(history, self._live.console.width))

    def close(self) -> None:
        """End the live display."""
        self._live.stop()


def plain_line(history: History) -> str:
    """Return the state in one line."""
    stats = history.latest
    return (
        f"{clock(stats.elapsed_seconds)} {stats.state:<10} step {stats.step:>5}  "
        f"version {stats.version:>5}  reward {_last(stats, 'reward')}  "
        f"staleness {_last(stats, 'staleness')}  queue {_queue(stats)}  "
        f"{history.decoding_rate():,.0f} tok/s  "
        f"{history.training_rate():,.0f} rollouts/s  ETA {eta(history)}"
    )


def panel(history: History, width: int) -> RenderableType:
    """Return the live panel."""
    stats = history.latest
    rewards = stats.metric("reward")
    curve = Text("\n".join(chart(rewards, width=max(20, min(100, width - 16)))), style="green")
    heading = Text("reward per step", style="bold")
    return Panel(
        Group(
            heading,
            curve,
            numbers(history, width - 4),
            Text(tree_line(stats), no_wrap=True, overflow="ellipsis"),
            Text(benchmark_line(stats), no_wrap=True, overflow="ellipsis"),
            worker_table(stats.workers),
            Text(stats.bottleneck, "cyan"),
        ),
        title=f"RALO {stats.run} ({stats.recipe or 'no recipe'})",
        subtitle=f"{stats.state}  {clock(stats.elapsed_seconds)}  ETA {eta(history)}",
    )


def status_view(stats: Stats) -> RenderableType:
    """Return the state of a run as far as one reply to ``/stats`` has it."""
    lines = [
        f"run {stats.run} ({stats.recipe or 'no recipe'}): {stats.state}, "
        f"step {stats.step}, version {stats.version}, {clock(stats.elapsed_seconds)}, "
        f"reward {_last(stats, 'reward')}",
        _queues(stats),
    ]
    lines += filter(None, [benchmark_line(stats), late_trackers(stats), stats.bottleneck])
    if stats.last_error:
        lines.append(f"last error: {stats.last_error}")
    return Group(*map(Text, lines), worker_table(stats.workers, hosts=True))


def _queues(stats: Stats) -> str:
    trees, gradients = stats.trees, stats.gradients
    return (
        f"{stats.problems.leased} problems leased, trees queued {_queue(stats)}, "
        f"{trees.leased} in training; gradients: {gradients.pending} waiting, "
        f"{gradients.applied} applied, {gradients.refused} refused"
    )


def numbers(history: History, width: int) -> RenderableType:
    """Return the numbers of the run and its queues, in as many lines as `width` asks for."""
    stats = history.latest
    trees, problems = stats.trees, stats.problems
    progress = [
        f"step [b]{stats.step}[/b]",
        f"version [b]{stats.version}[/b]",
        f"reward [b]{_last(stats, 'reward')}[/b]",
        f"staleness [b]{_last(stats, 'staleness')}[/b]",
        _accuracy(stats),
    ]
    work = [
        f"trees queued {_queue(stats)}",
        f"in training {trees.leased}",
        f"problems leased {problems.leased}",
        f"{history.decoding_rate():,.0f} tokens/s decoded",
        f"{history.training_rate():,.0f} rollouts/s trained",
    ]
    if width < _WIDE:
        return _packed([Text.from_markup(item) for item in (*progress, *work) if item], width)
    table = Table.grid(padding=(0, 3))
    table.add_row(*progress)
    table.add_row(*work)
    return table


def _packed(items: Sequence[Text], width: int) -> Text:
    """Return the items with space between them, in lines of at most `width` cells."""
    lines = [Text()]
    for item in items:
        if lines[-1] and lines[-1].cell_len + item.cell_len + len(_GAP) > width:
            lines.append(Text())
        lines[-1].append(_GAP if lines[-1] else "").append_text(item)
    return Text("\n").join(lines)


def tree_line(stats: Stats) -> str:
    """Return how the trees of the last step grew and ended, ``""`` before there is one."""
    last = stats.steps[-1] if stats.steps else {}
    if "sharing_ratio" not in last:
        return ""
    stops = {name[5:]: share for name, share in last.items() if name.startswith("stop/")}
    common = sorted(stops, key=lambda reason: -stops[reason])[:_SHOWN_STOPS]
    return (
        f"trees {last['leaf_depth_mean']:.1f} deep, {last['sharing_ratio']:.0%} shared, "
        f"{last['zero_variance_share']:.0%} with equal rewards, "
        f"{last['response_tokens']:,.0f} tokens a response; ended: "
        + ", ".join(f"{reason} {stops[reason]:.0%}" for reason in common)
    )


def _queue(stats: Stats) -> str:
    trees = stats.trees
    skipped = f" ({trees.skipped} skipped)" if trees.skipped else ""
    return f"{trees.queued}/{trees.capacity}{skipped}"


def _accuracy(stats: Stats) -> str:
    done = newest(stats.evaluations)
    if not done or done[0].benchmark != HELD_OUT:
        return ""
    return f"held-out [b]{headline(done[0])[1]:.1%}[/b] (v{done[0].version})"


def benchmark_line(stats: Stats) -> str:
    """Return the newest result of each benchmark and what is under way, ``""`` where nothing is."""
    parts = []
    for result in newest(stats.evaluations):
        if result.benchmark != HELD_OUT:
            name, value = headline(result)
            parts.append(f"{result.benchmark} {name} {value:.1%} (v{result.version})")
    shards = stats.evaluation
    if shards.waiting + shards.leased:
        parts.append(f"{shards.waiting} shards waiting, {shards.leased} being evaluated")
    return f"evaluation: {', '.join(parts)}" if parts else ""


def late_trackers(stats: Stats) -> str:
    """Return which trackers have not taken what happened a while ago, ``""`` where all have."""
    late = [
        f"{name} by {backlog.waiting} records, {clock(backlog.seconds)}"
        for name, backlog in stats.trackers.items()
        if backlog.seconds > _LATE_SECONDS
    ]
    return f"trackers behind: {', '.join(late)}" if late else ""


def _last(stats: Stats, key: str) -> str:
    value = stats.last(key)
    return f"{value:.3f}" if value is not None else "-"


def eta(history: History) -> str:
    """Return the time to the nearest limit of the run, ``-`` where there is none."""
    stats = history.latest
    limits, rate = stats.limits, history.step_rate()
    left = []
    if limits.max_minutes:
        left.append(limits.max_minutes * 60 - stats.elapsed_seconds)
    if limits.max_steps and rate:
        left.append((limits.max_steps - stats.step) / rate)
    return clock(max(0.0, min(left))) if left else "-"


def clock(seconds: float) -> str:
    """Return ``m:ss`` or ``h:mm:ss``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"

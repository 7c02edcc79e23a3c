"""``ralo plot``: the reward curves of runs as a picture.

Neighbours: reads the ``metrics.jsonl`` that the jsonl tracker writes into a run directory.
It needs matplotlib and nothing of a running orchestrator.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ralo_core.errors import RaloError

_SMOOTHING = 0.9
_ACCURACY = "eval/held_out/accuracy"


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("reward.png"),
              show_default=True, help="Picture to write; its ending says the format.")  # fmt: skip
def plot(runs: Sequence[Path], output: Path) -> None:
    """Plot reward and held-out accuracy over time of one or more run directories."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        msg = "ralo plot needs matplotlib: pip install matplotlib"
        raise RaloError(msg) from error
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for run in runs:
        _draw(axes, run)
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("mean reward of a step; held-out accuracy")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(output, dpi=120)
    click.echo(f"wrote {output}")


def _draw(axes: Any, run: Path) -> None:
    rows = read_metrics(run)
    steps = [row for row in rows if "reward" in row]
    if not steps:
        msg = f"{run}: no optimizer step was recorded yet, there is nothing to plot"
        raise RaloError(msg)
    minutes = [row["elapsed_seconds"] / 60 for row in steps]
    (line,) = axes.plot(minutes, [row["reward"] for row in steps], alpha=0.25)
    color = line.get_color()
    smoothed = smooth([row["reward"] for row in steps])
    axes.plot(minutes, smoothed, color=color, label=f"{run.name}: reward")
    evaluations = [row for row in rows if _ACCURACY in row]
    if evaluations:
        times = [row["elapsed_seconds"] / 60 for row in evaluations]
        accuracy = [row[_ACCURACY] for row in evaluations]
        axes.plot(
            times, accuracy, "o--", color=color, label=f"{run.name}: held-out greedy accuracy"
        )


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's ``metrics.jsonl``, or raise `RaloError` naming the file."""
    path = run / "metrics.jsonl"
    if not path.exists():
        msg = f"{path} does not exist: is {run} a run directory, with 'jsonl' in trackers.pipeline?"
        raise RaloError(msg)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def smooth(values: Sequence[float]) -> list[float]:
    """Return the exponential moving average with bias correction, as Adam's first moment."""
    smoothed, mean = [], 0.0
    for count, value in enumerate(values, 1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        smoothed.append(mean / (1 - _SMOOTHING**count))
    return smoothed

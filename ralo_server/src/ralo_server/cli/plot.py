"""``ralo plot``: metrics of runs as a picture.

It reads the files that the jsonl tracker wrote. No orchestrator is needed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ralo_core.errors import RaloError
from ralo_server.rundir.metrics_file import (
    MINUTES,
    STEP,
    Curve,
    Row,
    check_known,
    curve,
    read_metrics,
    smooth,
)

_REWARD, _ACCURACY = "reward", "eval/held_out/accuracy"
_X_LABELS = {MINUTES: "minutes of training", STEP: "optimizer step"}
_WIDTH, _HEIGHT = 8.0, 4.5
_MOST_HEIGHT = 30.0

Panel = tuple[str, Sequence[str]]
"""What a panel's y-axis is called, and the metrics in it."""


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("reward.png"),
              show_default=True, help="Picture to write, in the format of its ending.")  # fmt: skip
@click.option("--metric", "metrics", multiple=True, metavar="NAME",
              help="Metric to draw, in a panel of its own; may be repeated. Default: the reward "
              "and the held-out accuracy in one panel.")  # fmt: skip
@click.option("--x", type=click.Choice(list(_X_LABELS)), default=MINUTES, show_default=True,
              help="Unit of the x-axis.")  # fmt: skip
@click.option("--smoothing", type=click.FloatRange(0.0, 0.999), default=0.9, show_default=True,
              help="Weight of earlier values in the moving average; 0: no smoothing.")  # fmt: skip
def plot(
    runs: Sequence[Path], output: Path, metrics: Sequence[str], x: str, smoothing: float
) -> None:
    """Plot metrics of one or more run directories; docs/metrics.md lists the names."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        msg = "ralo plot needs matplotlib: pip install 'ralo-server[plot]'"
        raise RaloError(msg) from error
    rows = {run: _rows_of(run) for run in dict.fromkeys(runs)}
    for metric in metrics:
        check_known(metric, rows)
    panels: Sequence[Panel] = [(metric, [metric]) for metric in metrics] or [
        ("mean reward of a step; held-out accuracy", [_REWARD, _ACCURACY])
    ]
    height = min(_MOST_HEIGHT, _HEIGHT if len(panels) == 1 else 3.0 * len(panels))
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    every_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(every_axes, panels, strict=True):
        _draw_panel(axes, panel, rows, x, smoothing)
    every_axes[-1].set_xlabel(_X_LABELS[x])
    figure.savefig(output, dpi=120)
    click.echo(f"wrote {output}")


def _rows_of(run: Path) -> Sequence[Row]:
    rows = read_metrics(run)
    if not any(_REWARD in row for row in rows):
        msg = f"{run}: no optimizer step was recorded yet, there is nothing to plot"
        raise RaloError(msg)
    return rows


def _draw_panel(
    axes: Any, panel: Panel, rows: Mapping[Path, Sequence[Row]], x: str, smoothing: float
) -> None:
    title, metrics = panel
    for place, (run, of_run) in enumerate(rows.items()):
        for metric in metrics:
            found = curve(of_run, metric, x)
            if found is not None:
                name = run.resolve().name
                label = f"{name}: {metric}" if len(metrics) > 1 else name
                _draw(axes, found, label, f"C{place}", metric, smoothing)
    axes.set_ylabel(title)
    axes.grid(alpha=0.3)
    axes.legend()


def _draw(axes: Any, found: Curve, label: str, color: str, metric: str, smoothing: float) -> None:
    """Draw a metric of steps as a line, smoothed; a result as points with its interval."""
    if metric.startswith("eval/"):
        axes.plot(found.x, found.y, "o--", color=color, label=label)
        if found.low:
            axes.fill_between(found.x, found.low, found.high, color=color, alpha=0.15, linewidth=0)
        return
    if smoothing:
        axes.plot(found.x, found.y, color=color, alpha=0.25)
    axes.plot(found.x, smooth(found.y, smoothing), color=color, label=label)

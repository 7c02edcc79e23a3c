"""TreePO against GRPO at the same budget of decoded tokens: accuracy over tokens and wall time.

The embedded model of each seed learns sums, 32 problems x 8 responses a step, the same optimizer,
one thread per run. Beside the two recipes as they are, TreePO's parts are exchanged one by one.
Time is that of sampling and training in turns; evaluations do not count.

    python benchmarks/learning/treepo_against_grpo.py [--seeds 5] [--folder FOLDER] [--plot FILE]
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from many_runs import Case, run_all
from one_process import OneProcess

BUDGET, EVERY, HELD_OUT = 250_000, 25_000, 500
SETTINGS = ("trainer.batch_trees=32",)
_SAME_LOSS = ("loss.clip.average=token", "loss.clip.clip_high=0.28")
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "treepo": ("treepo",),
    "grpo": ("grpo",),
    "grpo, TreePO's loss": ("grpo", *_SAME_LOSS),
    "treepo, GRPO's advantage": ("treepo", "advantage.use=grpo"),
}
"""Name of a curve -> recipe and settings."""


def train(case: Case, model: Path) -> Case:
    """Return the curve: decoded tokens, seconds and accuracy, first before training."""
    recipe, *settings = VARIANTS[case["variant"]]
    with tempfile.TemporaryDirectory() as folder:
        settings = [*SETTINGS, *settings, f"run.seed={case['seed']}"]
        run = OneProcess(model, Path(folder) / "run", recipe, settings)
        tokens = rollouts = 0
        seconds = 0.0
        curve = [(tokens, seconds, run.accuracy(HELD_OUT))]
        while tokens < BUDGET:
            step = run.step()
            tokens, seconds = tokens + step.decoded, seconds + step.seconds
            rollouts += step.rollouts
            if tokens >= EVERY * len(curve):
                curve.append((tokens, seconds, run.accuracy(HELD_OUT)))
        run.close()
    return {"curve": curve, "rollouts": rollouts, "steps": run.version}


@click.command()
@click.option("--seeds", default=5)
@click.option("--folder", default=Path("runs/treepo_against_grpo"), type=click.Path(path_type=Path))
@click.option("--plot", default=None, type=click.Path(path_type=Path))
def main(seeds: int, folder: Path, plot: Path | None) -> None:
    """Run what is missing in FOLDER, print the table, draw the curves."""
    cases = [{"seed": seed, "variant": variant} for seed in range(seeds) for variant in VARIANTS]
    rows = run_all(cases, train, folder)
    print(f"\n{seeds} seeds, {BUDGET:,} decoded tokens each; mean +- standard deviation")
    print(f"{'':26}{'before':>14}{'25 k':>14}{'50 k':>14}{'125 k':>14}{'end':>14}"
          f"{'rollouts':>10}{'seconds':>9}")  # fmt: skip
    for variant in VARIANTS:
        print_row(variant, [row for row in rows if row["variant"] == variant])
    if plot:
        draw(rows, plot)


def print_row(variant: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print accuracies at some marks, rollouts and seconds."""
    at = [0, 25_000, 50_000, 125_000, BUDGET]
    cells = [[100 * accuracy_at(row["curve"], mark, 0) for row in rows] for mark in at]
    rollouts = np.mean([row["rollouts"] for row in rows])
    seconds = np.mean([row["curve"][-1][1] for row in rows])
    print(
        f"{variant:26}"
        + "".join(f"{np.mean(c):8.1f} +-{np.std(c, ddof=1):4.1f}" for c in cells)
        + f"{rollouts:10,.0f}{seconds:9.1f}"
    )


def accuracy_at(curve: Sequence[Sequence[float]], mark: float, axis: int) -> float:
    """Return the accuracy at `mark` on axis 0 (tokens) or 1 (seconds), between the points."""
    points = np.asarray(curve)
    return float(np.interp(mark, points[:, axis], points[:, 2]))


def draw(rows: Sequence[Mapping[str, Any]], target: Path) -> None:
    """Save mean curves with the standard deviation as a band."""
    import matplotlib as mpl  # noqa: PLC0415 (only a plot needs it)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for axis, name in enumerate(("decoded tokens (thousands)", "seconds, one core")):
        scale = 1000 if axis == 0 else 1
        for variant in VARIANTS:
            curves = [row["curve"] for row in rows if row["variant"] == variant]
            end = min(curve[-1][axis] for curve in curves)
            marks = np.linspace(0, end, 60)
            lines = np.asarray([[accuracy_at(c, m, axis) for m in marks] for c in curves])
            mean, spread = lines.mean(0), lines.std(0, ddof=1)
            (line,) = axes[axis].plot(marks / scale, mean, label=variant)
            axes[axis].fill_between(
                marks / scale, mean - spread, mean + spread, color=line.get_color(), alpha=0.15
            )
        axes[axis].set_xlabel(name)
        axes[axis].grid(alpha=0.3)
    axes[0].set_ylabel("greedy accuracy on held-out sums")
    axes[0].legend(loc="lower right")
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()

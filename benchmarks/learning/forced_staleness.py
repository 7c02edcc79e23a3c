"""What off-policy corrections are worth: accuracy after a fixed number of steps, by staleness.

TreePO on the embedded model; all trees of a step are 0, 1, 4 or 16 versions old. Prints mean and
standard deviation over seeds, and what was spent.

    python benchmarks/learning/forced_staleness.py [--seeds 5] [--folder FOLDER] [METHOD ...]
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
from many_runs import Case, run_all
from one_process import OneProcess

LAGS = (0, 1, 4, 16)
STEPS, HELD_OUT = 64, 500
SETTINGS = ("trainer.batch_trees=8", "evaluation.problems=0")

_REINFORCE = "loss.use=policy_gradient"
METHODS: Mapping[str, tuple[str, ...]] = {
    "none": (_REINFORCE,),
    "tis": (_REINFORCE, "correction.pipeline=['tis']"),
    "sequence_tis": (_REINFORCE, "correction.pipeline=['sequence_tis']"),
    "icepop": (_REINFORCE, "correction.pipeline=['icepop']"),
    "geometric_mask": (_REINFORCE, "correction.pipeline=['geometric_mask']"),
    "geometric_mask, tis": (_REINFORCE, "correction.pipeline=['geometric_mask', 'tis']"),
    "opsm": (_REINFORCE, "correction.pipeline=['opsm']"),
    "staleness, power 1": (
        _REINFORCE,
        "correction.pipeline=['staleness']",
        "correction.staleness.most=100",
        "correction.staleness.power=1.0",
    ),
    "clip": ("loss.use=clip",),
    "clip, opsm": ("loss.use=clip", "correction.pipeline=['opsm']"),
    "decoupled": ("loss.use=decoupled",),
    "dppo": ("loss.use=dppo",),
    "cispo": ("loss.use=cispo",),
    "gspo": ("loss.use=gspo",),
}
"""Name of a row -> what is set. `none` trusts the rollouts as if they were fresh."""


def train(case: Case, model: Path) -> Case:
    """Return the accuracy after the last step, and the mean reward of the steps."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [*SETTINGS, *METHODS[case["method"]], f"run.seed={case['seed']}"]
        run = OneProcess(model, Path(folder) / "run", "treepo", settings, case["lag"])
        before = run.accuracy(HELD_OUT)
        steps = [run.step() for _ in range(STEPS)]
        after = run.accuracy(HELD_OUT)
        run.close()
    ess = [step.metrics["ess"] for step in steps if "ess" in step.metrics]
    return {
        "before": before,
        "accuracy": after,
        "ess": float(np.mean(ess)),
        "seconds": sum(step.seconds for step in steps),
    }


@click.command()
@click.option("--seeds", default=5)
@click.option("--folder", default=Path("runs/staleness"), type=click.Path(path_type=Path))
@click.argument("methods", nargs=-1)
def main(seeds: int, folder: Path, methods: tuple[str, ...]) -> None:
    """Run what is missing in FOLDER and print the table."""
    chosen = methods or tuple(METHODS)
    cases = [
        {"seed": seed, "lag": lag, "method": method}
        for seed in range(seeds)
        for lag in reversed(LAGS)
        for method in chosen
    ]
    rows = run_all(cases, train, folder)
    start = np.mean([row["before"] for row in rows])
    print(f"\nheld-out accuracy after {STEPS} steps, {seeds} seeds; before: {start:.1%}")
    print(f"{'staleness':22}" + "".join(f"{lag:>14}" for lag in LAGS))
    for method in chosen:
        cells = [
            [row["accuracy"] for row in rows if (row["method"], row["lag"]) == (method, lag)]
            for lag in LAGS
        ]
        print(f"{method:22}" + "".join(f"{_cell(values):>14}" for values in cells))


def _cell(values: list[float]) -> str:
    return f"{100 * np.mean(values):.1f} +- {100 * np.std(values, ddof=1):.1f}"


if __name__ == "__main__":
    main()

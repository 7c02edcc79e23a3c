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
STEPS, HELD_OUT = 48, 500
SETTINGS = ("trainer.batch_trees=8", "evaluation.problems=0", "correction.pipeline=[]")

_REINFORCE = "loss.use=policy_gradient"


def _corrected(*names: str) -> tuple[str, ...]:
    return (_REINFORCE, f"correction.pipeline={list(names)}")


METHODS: Mapping[str, tuple[str, ...]] = {
    "none": (_REINFORCE,),
    "clip": ("loss.use=clip",),
    "tis": _corrected("tis"),
    "sequence_tis": _corrected("sequence_tis"),
    "icepop": _corrected("icepop"),
    "kpop, tis": _corrected("kpop", "tis"),
    "topr": _corrected("topr"),
    "geometric_mask": _corrected("geometric_mask"),
    "opsm": _corrected("opsm"),
    "staleness, power 1": (
        *_corrected("staleness"),
        "correction.staleness.most=100",
        "correction.staleness.power=1.0",
    ),
    "cispo": ("loss.use=cispo",),
    "gspo": ("loss.use=gspo",),
    "dppo": ("loss.use=dppo",),
    "decoupled": ("loss.use=decoupled",),
    "m2po, tis 20": (*_corrected("m2po", "tis"), "correction.tis.cap=20.0"),
    "clip, opsm": ("loss.use=clip", "correction.pipeline=['opsm']"),
    "clip, vcpo": ("loss.use=clip", "optimizer.adamw.ess_scaling=sqrt"),
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
@click.option("--lags", default=",".join(map(str, LAGS)), help="Versions behind, by commas.")
@click.option("--folder", default=Path("runs/staleness"), type=click.Path(path_type=Path))
@click.argument("methods", nargs=-1)
def main(seeds: int, lags: str, folder: Path, methods: tuple[str, ...]) -> None:
    """Run what is missing in FOLDER and print the table."""
    chosen, behind = methods or tuple(METHODS), [int(lag) for lag in lags.split(",")]
    cases = [
        {"seed": seed, "lag": lag, "method": method}
        for seed in range(seeds)
        for lag in reversed(behind)
        for method in chosen
    ]
    rows = run_all(cases, train, folder)
    found = {(row["method"], row["lag"], row["seed"]): 100 * row["accuracy"] for row in rows}
    start = np.mean([row["before"] for row in rows])
    print(f"\nheld-out accuracy after {STEPS} steps, {seeds} seeds; before: {start:.1%}")
    print("in brackets the difference to `clip`, seed by seed")
    print(f"{'staleness':22}" + "".join(f"{lag:>26}" for lag in behind))
    for method in chosen:
        cells = [cell(found, method, lag, seeds) for lag in behind]
        print(f"{method:22}" + "".join(f"{text:>26}" for text in cells))


def cell(found: Mapping[tuple[str, int, int], float], method: str, lag: int, seeds: int) -> str:
    """Return mean and deviation over seeds, and of the difference to the default."""
    values = np.asarray([found[method, lag, seed] for seed in range(seeds)])
    text = f"{values.mean():.1f} +- {values.std(ddof=1):.1f}"
    if ("clip", lag, 0) not in found:
        return text
    difference = values - np.asarray([found["clip", lag, seed] for seed in range(seeds)])
    return f"{text} ({difference.mean():+.1f} +- {difference.std(ddof=1):.1f})"


if __name__ == "__main__":
    main()

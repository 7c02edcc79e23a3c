"""``ralo fit``: the scaling law of a run, as a table and a picture.

It reads state.db of a run, which may be running, and needs matplotlib for the picture only.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ralo_core.errors import RaloError
from ralo_server.rundir.directory import RunDirectory
from ralo_server.scaling.fit import Fit
from ralo_server.scaling.fit import fit as fitted
from ralo_server.store.database import Database
from ralo_server.store.law_points import ACCURACY, HELD_OUT, measured, points

Points = Sequence[tuple[float, float]]


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--benchmark", default=HELD_OUT, show_default=True, help="Benchmark whose results are fitted."
)
@click.option("--metric", default=ACCURACY, show_default=True, help="Metric of the benchmark.")
@click.option(
    "--fix-r0", is_flag=True, help="Set R0 to the value of version 0 instead of fitting it."
)
@click.option("-o", "--output", type=click.Path(path_type=Path),
              help="Picture to write, in the format of its ending.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the JSON of GET /eval/fit.")
def fit(
    run: Path, benchmark: str, metric: str, fix_r0: bool, output: Path | None, as_json: bool
) -> None:
    """Fit RUN's results over the compute spent: R0 + (A - R0) / (1 + (C_mid / C)^B).

    Where the results do not determine the curve, the reason is printed instead.
    """
    database = Database(RunDirectory(run.resolve()).state, read_only=True)
    found = points(database, benchmark, metric)
    if not found:
        raise RaloError(_nothing(run, database, f"{benchmark} {metric}"))
    law = fitted(found, start=_start(found) if fix_r0 else None)
    if as_json:
        names = {"benchmark": benchmark, "metric": metric, "points": found}
        click.echo(json.dumps({"fits": [{**names, **law.document()}]}))
    else:
        _print(law, f"{benchmark} {metric}", found)
    if output:
        _draw(law, f"{benchmark} {metric}", found, output)
        click.echo(f"wrote {output}", err=as_json)


def _start(found: Points) -> float:
    for compute, value in found:
        if compute == 0:
            return value
    msg = "--fix-r0 needs a result of version 0: evaluate it, or leave R0 to the fit"
    raise RaloError(msg)


def _nothing(run: Path, database: Database, wanted: str) -> str:
    known = [" ".join(names) for names in measured(database)]
    if known:
        return f"{run} has no results of {wanted}; it has: {', '.join(known)}"
    return (
        f"{run} has no evaluation of a version whose compute was counted; set evaluation.problems "
        "and evaluation.every_steps"
    )


def _print(law: Fit, name: str, found: Points) -> None:
    if law.numbers is None:
        click.echo(f"{name}, {len(found)} points: no fit: {law.refused}")
        return
    table = Table(box=None, padding=(0, 1), title=f"{name}, {len(found)} points")
    for column in ("", "value", "95 % interval", "unit"):
        table.add_column(column, no_wrap=True)
    for number, known in law.numbers.items():
        unit = "device-seconds" if number == "C_mid" else ""
        table.add_row(number, f"{known.value:.4g}", f"{known.low:.4g} to {known.high:.4g}", unit)
    Console(soft_wrap=True).print(table)


def _draw(law: Fit, name: str, found: Points, output: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        msg = "ralo fit -o needs matplotlib: pip install 'ralo-server[plot]'"
        raise RaloError(msg) from error
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    spent = [(compute, value) for compute, value in found if compute > 0]
    axes.plot(*zip(*spent, strict=True), "o", color="tab:blue", label=f"{name}, measured")
    for value in [value for compute, value in found if compute == 0]:
        axes.axhline(value, color="tab:blue", ls=":", lw=1, label="version 0")
    if law.numbers is None:
        axes.set_title(f"no fit: {law.refused.partition(':')[0]}", fontsize=10)
    else:
        _draw_curve(axes, law)
    axes.set_xlabel("compute of training, device-seconds of work")
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    figure.savefig(output, dpi=120)


def _draw_curve(axes: Any, law: Fit) -> None:
    assert law.numbers is not None
    compute, curve, low, high = zip(*law.curve, strict=True)
    asymptote, middle = law.numbers["A"], law.numbers["C_mid"]
    axes.fill_between(compute, low, high, color="tab:orange", alpha=0.25, label="95 % band")
    text = f"A = {asymptote.value:.3g} [{asymptote.low:.3g}, {asymptote.high:.3g}]"
    axes.plot(compute, curve, color="tab:orange", label=text)
    axes.axhline(asymptote.value, color="tab:orange", ls="--", lw=1)
    axes.axvline(middle.value, color="gray", ls=":", lw=1, label=f"C_mid = {middle.value:.3g}")

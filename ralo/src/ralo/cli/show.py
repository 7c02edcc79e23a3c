"""``ralo show``: rollouts, steps and evaluations of a run, once.

With ``--json`` it prints what the orchestrator has sent, unchanged.
"""

import json
from collections.abc import Sequence
from typing import Any

import attrs
import click
from rich.console import Console, RenderableType

from ralo.cli.run_client import RunTarget, run_target_options
from ralo.run.viewing import Viewing
from ralo.views.rollouts import rollout_table, rollout_tree
from ralo.views.tables import STEP_COLUMNS, evaluation_table, metric_table, step_table
from ralo_core.errors import RaloError

_FILE_WIDTH = 160
"""Columns where there is no terminal that has some."""

last_option = click.option(
    "--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many, at most."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
step_option = click.option("--step", type=click.IntRange(min=0), help="Only of this step.")


@click.group()
def show() -> None:
    """Show rollouts, steps or evaluations of the run in RUN_DIR, or at --server."""


@show.command()
@run_target_options
@click.argument("number", required=False, default="")
@last_option
@step_option
@click.option("--problem", help="Only of the problem with this id.")
@click.option(
    "--characters", type=click.IntRange(min=0), default=400, show_default=True,
    help="Of each text of a tree, at most; 0: all.",
)  # fmt: skip
@json_option
def rollouts(
    target: RunTarget,
    number: str,
    last: int,
    step: int | None,
    problem: str | None,
    characters: int,
    as_json: bool,
) -> None:
    """List the newest rollout trees, or draw the one with this NUMBER.

    Only trees that are kept can be drawn: [rollouts] in the config says which.
    """
    if target.url and not number:
        # The only argument beside --server is NUMBER; click has taken it for RUN_DIR.
        target, number = attrs.evolve(target, run_dir=""), target.run_dir
    if number and not number.isdecimal():
        raise click.UsageError(f"NUMBER is the number of a rollout, not {number!r}")
    with target.client() as client:
        viewing = Viewing(client.transport)
        if number:
            rollout = viewing.rollout(int(number))
            _print(rollout, as_json, rollout_tree(rollout, characters))
            return
        rows = viewing.rollouts(last, problem, step)
    _print(rows, as_json, rollout_table(rows, _console().width))


@show.command()
@run_target_options
@last_option
@click.option("--step", type=click.IntRange(min=1), help="All metrics of this step.")
@click.option("--metric", "metrics", multiple=True, help="Show this one; may be repeated.")
@json_option
def steps(
    target: RunTarget,
    last: int,
    step: int | None,
    metrics: Sequence[str],
    as_json: bool,
) -> None:
    """List the last optimizer steps; docs/metrics.md says what the metrics mean."""
    with target.client() as client:
        viewing = Viewing(client.transport)
        known = viewing.metric_names()
        _check_known(metrics, known)
        wanted = list(metrics) or (known if step or as_json else list(STEP_COLUMNS))
        end = step or viewing.last_step()
        rows = viewing.steps(wanted, step or max(1, end - last + 1), end)
    if step and not rows:
        msg = f"the run has no step {step}"
        raise RaloError(msg)
    _print(rows, as_json, metric_table(rows[0]) if step else step_table(rows, wanted))


@show.command()
@run_target_options
@last_option
@step_option
@click.option("--benchmark", help="Only of this benchmark.")
@json_option
def evals(
    target: RunTarget,
    last: int,
    step: int | None,
    benchmark: str | None,
    as_json: bool,
) -> None:
    """List the last results of evaluations, each with its 95 % interval."""
    with target.client() as client:
        found = client.eval_results(benchmark)
    results = [r for r in found if step is None or r["step"] == step][-last:]
    _print(results, as_json, evaluation_table(results))


def _check_known(metrics: Sequence[str], known: Sequence[str]) -> None:
    for name in metrics:
        if name not in known:
            msg = f"no step has a metric {name!r}; there are: {', '.join(known) or 'none yet'}"
            raise RaloError(msg)


def _print(document: Any, as_json: bool, drawn: RenderableType) -> None:
    if as_json:
        click.echo(json.dumps(document, indent=1))
        return
    _console().print(drawn, highlight=False)


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    return console

"""``ralo runs``: the run directories of a folder and how far each one is."""

import json
from collections.abc import Sequence
from pathlib import Path

import attrs
import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ralo_server.rundir.listing import RunListing, list_runs

_COLUMNS = ("run", "recipe", "state", "step", "version", "reward", "accuracy", "size")


@click.command()
@click.argument(
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("runs"),
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def runs(folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER (default: runs) and their state."""
    found = list(list_runs(folder))
    if as_json:
        click.echo(json.dumps([attrs.asdict(run) for run in found], indent=1))
        return
    if not found:
        click.echo(f"there is no run in {folder}")
        return
    Console(soft_wrap=True).print(_table(found))


def _table(found: Sequence[RunListing]) -> Table:
    table = Table(box=None, padding=(0, 1))
    for column in _COLUMNS:
        table.add_column(column, no_wrap=column != "run", overflow="fold")
    for run in found:
        table.add_row(
            escape(_named(run)),
            escape(run.recipe),
            f"{run.state} now" if run.running else run.state,
            str(run.step),
            str(run.version),
            "" if run.reward is None else f"{run.reward:.3f}",
            "" if run.accuracy is None else f"{run.accuracy:.1%}",
            _readable(run.bytes),
        )
    return table


def _named(run: RunListing) -> str:
    """Return the run's name, and its folder where that is called otherwise."""
    folder = Path(run.directory).name
    return folder if run.name in ("", folder) else f"{run.name} ({folder})"


def _readable(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"

"""``ralo logs``: what the processes of a run have written."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from ralo.run.logs import Line, Logs
from ralo_core.errors import RaloError

_POLL_SECONDS = 0.25


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-f", "--follow", is_flag=True, help="Print new lines as they come, until Ctrl-C.")
@click.option(
    "-n", "--lines", default=20, show_default=True, type=click.IntRange(min=0), help="Last lines."
)
def logs(run_dir: Path, names: Sequence[str], follow: bool, lines: int) -> None:
    """Show the logs of the run in RUN_DIR, of all processes or of those that are named.

    NAME is serve, web, learner, sample-0, train-0 and so on; sample stands for every sampler.
    """
    folder = run_dir / "logs"
    if not folder.is_dir():
        msg = f"{run_dir} has no logs: it is no run directory, or nothing was started in it"
        raise RaloError(msg)
    found = Logs(folder, names)
    _print(found.tail(lines))
    try:
        while follow:
            time.sleep(_POLL_SECONDS)
            _print(found.added())
    except KeyboardInterrupt:
        return  # this is how following ends; click would call it aborted


def _print(lines: Iterable[Line]) -> None:
    for name, line in lines:
        click.echo(f"{name}: {line}")

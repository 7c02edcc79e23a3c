"""``ralo doctor``: checks a run directory and prints what it would repair, or repairs it."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ralo_server.doctor.examination import examine, mend
from ralo_server.doctor.finding import Finding
from ralo_server.rundir.directory import RunDirectory
from ralo_server.rundir.lock import is_running, lock


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--fix", is_flag=True, help="Repair what is safe to repair; the run must be stopped.")
def doctor(run: Path, fix: bool) -> None:
    """Check the run directory RUN: state, blobs, versions, optimizer, disk.

    Without --fix nothing is changed. The exit code is 1 if faults remain.
    """
    directory = RunDirectory(run.resolve())
    found = _repaired(directory) if fix else examine(directory, is_running(directory))
    _report(found)
    faults = [finding for finding in found if finding.fault]
    if faults:
        click.echo(f"{len(faults)} faults; {sum(bool(f.mend) for f in faults)} can be repaired")
        sys.exit(1)
    click.echo("no fault")


def _repaired(directory: RunDirectory) -> list[Finding]:
    """Repair what can be, again and again, for one damage hides another; return what is left."""
    with lock(directory):
        before: list[str] = []
        found = examine(directory, running=False)
        repairable = [finding for finding in found if finding.action]
        # The second condition ends the loop where a repair does not help.
        while repairable and [finding.what for finding in repairable] != before:
            _report(repairable)
            mend(directory, repairable)
            before = [finding.what for finding in repairable]
            found = examine(directory, running=False)
            repairable = [finding for finding in found if finding.action]
    return found


def _report(found: Sequence[Finding]) -> None:
    for finding in found:
        click.echo(f"{'fault' if finding.fault else 'note '}: {finding.what}")
        if finding.mend:
            click.echo(f"       --fix: {finding.mend}")

"""``ralo rollback``: a stopped run goes back to a version that is kept."""

from pathlib import Path

import click

from ralo_server.rollback import roll_back
from ralo_server.rundir.directory import RunDirectory
from ralo_server.rundir.lock import lock
from ralo_server.store import Store


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--to", "version", type=int, required=True, help="Number of the version.")
def rollback(run: Path, version: int) -> None:
    """Go back to a kept VERSION of a stopped RUN, with its optimizer state.

    The content of VERSION becomes a new version. Gradients and trees made with later versions are
    discarded; their problems and batches are queued again. Every lease ends.
    """
    directory = RunDirectory(run.resolve())
    config, registry = directory.load_config(())
    with lock(directory):
        store = Store(directory, config)
        made, discarded = roll_back(store, version)
    folder = str(store.versions.directory(made.number))
    registry.host.notify("ralo_weights_published", version=made.number, directory=folder)
    click.echo(
        f"version {made.number} is version {version} again, weights and optimizer state; "
        f"discarded: {len(discarded.gradients)} gradients, {len(discarded.trees)} trees"
    )
    click.echo(f"continue with: ralo serve --resume {run}")

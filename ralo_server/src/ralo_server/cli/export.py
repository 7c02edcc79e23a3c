"""``ralo export``: a version of a run as a Hugging Face model, or its adapter."""

from pathlib import Path

import click

from ralo_server.models.export import export as write_export
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True,
              help="Directory to write; it must not exist.")  # fmt: skip
@click.option("--version", type=int, help="Number of the version.  [default: the newest]")
@click.option("--merged/--adapter", default=True, show_default=True,
              help="In a LoRA run: the merged model, or the adapter.")  # fmt: skip
def export(run: Path, output: Path, version: int | None, merged: bool) -> None:
    """Write a version of RUN as a Hugging Face model directory. The run may be running."""
    directory = RunDirectory(run.resolve())
    config, _ = directory.load_config(())
    written = write_export(Store(directory, config).versions, version, output, merged=merged)
    click.echo(f"wrote version {written.number} (step {written.step}) to {output}")

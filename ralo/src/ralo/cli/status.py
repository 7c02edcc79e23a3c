"""``ralo status``: how a run is, once."""

import json

import click
from rich.console import Console

from ralo.cli.run_client import RunTarget, run_target_options
from ralo.views.view import status_view

_FILE_WIDTH = 160
"""Columns where there is no terminal that has some."""


@click.command()
@run_target_options
@click.option("--json", "as_json", is_flag=True, help="Print what GET /stats says.")
def status(target: RunTarget, as_json: bool) -> None:
    """Show the run in RUN_DIR, or at --server: progress, queues, workers."""
    with target.client() as client:
        stats = client.stats()
    if as_json:
        click.echo(json.dumps(stats, indent=1))
        return
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    console.print(status_view(stats), highlight=False)

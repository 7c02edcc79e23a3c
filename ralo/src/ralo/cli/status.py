"""``ralo status``: how a run is, once.

Neighbours: `run.view` draws, `cli.run_client` finds the orchestrator.
"""

import json
from pathlib import Path

import click
from rich.console import Console

from ralo.cli.run_client import run_client, run_client_options
from ralo.views.view import status_view
from ralo_core.structuring import unstructure

_FILE_WIDTH = 160
"""Columns where there is no terminal that has some."""


@click.command()
@run_client_options
@click.option("--json", "as_json", is_flag=True, help="Print what GET /stats says.")
def status(run_dir: str, url: str, token: str, ca: Path | None, as_json: bool) -> None:
    """Show the run in RUN_DIR, or at --server: progress, queues, workers."""
    with run_client(run_dir, url, token, ca) as client:
        stats = client.stats()
    if as_json:
        click.echo(json.dumps(unstructure(stats), indent=1))
        return
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    console.print(status_view(stats), highlight=False)

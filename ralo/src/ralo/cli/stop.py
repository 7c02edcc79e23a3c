"""``ralo stop``: drain a run and finish it."""

import time

import click
from rich.console import Console

from ralo.cli.run_client import RunTarget, run_target_options
from ralo.run.stats import History
from ralo.views.view import PlainView
from ralo_core.client import Client

_POLL_SECONDS = 0.5


@click.command()
@run_target_options
@click.option("--wait", is_flag=True, help="Return when the run is finished.")
def stop(target: RunTarget, wait: bool) -> None:
    """Let the run in RUN_DIR, or at --server, finish what is under way and end.

    No new problems are handed out; what is sampled is trained on, and the last version published.
    """
    with target.client() as client:
        state = client.stop()["state"]
        if wait and state != "finished":
            state = _wait(client)
    click.echo(f"the run is {state}")


def _wait(client: Client) -> str:
    history, view = History(), PlainView(Console())
    while True:
        history.add(client.stats())
        state = str(history.latest["state"])
        if state == "finished":
            return state
        view.show(history)
        time.sleep(_POLL_SECONDS)

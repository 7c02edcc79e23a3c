"""How commands that look at a run, or stop it, find its orchestrator.

Neighbours: ``ralo status``, ``top``, ``show`` and ``stop``. Unlike a worker, a person who asks is
told soon that nobody answers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from ralo_core.access import ADMIN, TOKEN_ENV
from ralo_core.cli.options import ca_option
from ralo_core.client import Backoff, Client
from ralo_core.client.address import address_of
from ralo_core.errors import RaloError

_PATIENCE_SECONDS = 10.0

F = TypeVar("F", bound=Callable[..., Any])


def run_client_options(command: F) -> F:
    """Add ``RUN_DIR``, ``--server``, ``--token`` and ``--ca`` to a click command."""
    for option in (
        ca_option,
        click.option(
            "--token",
            default="",
            envvar=TOKEN_ENV,
            show_envvar=True,
            help="Token of the admin, or of a viewer to look; RUN_DIR has the first.",
        ),
        click.option("--server", "url", default="", metavar="URL", help="The orchestrator's URL."),
        click.argument("run_dir", required=False, default=""),
    ):
        command = option(command)
    return command


@contextmanager
def run_client(
    run_dir: str, url: str, token: str, ca: Path | None, patience: float = _PATIENCE_SECONDS
) -> Iterator[Client]:
    """Yield the client of the run in `run_dir` or at `url`; raises `click.UsageError` unless one of
    them is given, and `RaloError` where nobody answers within `patience` seconds."""
    if bool(run_dir) == bool(url):
        raise click.UsageError("give either RUN_DIR or --server URL")
    if run_dir and "://" not in run_dir and not Path(run_dir).is_dir():
        msg = f"{run_dir} is no run directory"
        raise RaloError(msg)
    address = address_of(run_dir or url, ADMIN, token)
    try:
        yield Client(address, ca=ca, backoff=Backoff(deadline=patience))
    except ConnectionError as error:
        msg = f"the orchestrator of {run_dir or url} is not running, or cannot be reached: {error}"
        raise RaloError(msg) from error

"""How commands that look at a run, or stop it, find its orchestrator.

A worker waits for an orchestrator that is not up; a person who asks is told after some seconds
that it does not answer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import attrs
import click

from ralo_core.access import ADMIN
from ralo_core.cli.options import ca_option, token_option, with_options
from ralo_core.client import Backoff, Client, Connection
from ralo_core.errors import RaloError

_PATIENCE_SECONDS = 10.0


@attrs.frozen(kw_only=True)
class RunTarget:
    """The run that a command is for: in `run_dir`, or at `url`; one of them is ``""``."""

    run_dir: str
    url: str
    token: str = attrs.field(repr=False)
    ca: Path | None

    def connection(self) -> Connection:
        """Return the connection to the run; raises `click.UsageError` unless exactly one of
        `run_dir` and `url` is given, and `RaloError` for a directory that is none."""
        if bool(self.run_dir) == bool(self.url):
            raise click.UsageError("give either RUN_DIR or --server URL")
        if self.run_dir and "://" not in self.run_dir and not Path(self.run_dir).is_dir():
            msg = f"{self.run_dir} is no run directory"
            raise RaloError(msg)
        return Connection(url=self.run_dir or self.url, token=self.token, ca=self.ca)

    @contextmanager
    def client(self, patience: float = _PATIENCE_SECONDS) -> Iterator[Client]:
        """Yield the client of the run; raises `RaloError` where a request inside the block is not
        answered within `patience` seconds, and what `connection` raises."""
        connection = self.connection()
        try:
            yield connection.client(ADMIN, backoff=Backoff(deadline=patience))
        except ConnectionError as error:
            msg = (
                f"the orchestrator of {connection.url} is not running, or cannot be reached: "
                f"{error}"
            )
            raise RaloError(msg) from error


def run_target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``RUN_DIR``, ``--server``, ``--token`` and ``--ca`` to a click command; it gets them as
    `target`, a `RunTarget`."""

    @wraps(command)
    def with_target(
        *args: Any, run_dir: str, url: str, token: str, ca: Path | None, **options: Any
    ) -> Any:
        target = RunTarget(run_dir=run_dir, url=url, token=token, ca=ca)
        return command(*args, target=target, **options)

    return with_options(
        with_target,
        click.argument("run_dir", required=False, default=""),
        click.option("--server", "url", default="", metavar="URL", help="The orchestrator's URL."),
        token_option("Token of the admin, or of a viewer to look; RUN_DIR has the first."),
        ca_option,
    )

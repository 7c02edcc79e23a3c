"""``ralo top``: a run, live and full screen.

While the orchestrator does not answer, the screen says so and `top` asks again. Ctrl-C ends it and
gives the terminal back as it was.
"""

import logging
import signal
import time

import click
from rich.console import Console
from rich.live import Live

from ralo.cli.run_client import RunTarget, run_target_options
from ralo.run.stats import History
from ralo.views.top import screen
from ralo_core.client import Client
from ralo_core.errors import RaloError

_PATIENCE_SECONDS = 1.0
"""How long one look retries; the next look comes anyway."""
_RESPONSE_SECONDS = 5.0


@click.command()
@run_target_options
@click.option(
    "--refresh", type=click.FloatRange(min=0.2), default=1.0, show_default=True,
    help="Seconds between two looks.",
)  # fmt: skip
def top(target: RunTarget, refresh: float) -> None:
    """Watch the run in RUN_DIR, or at --server, until Ctrl-C."""
    console = Console()
    if not console.is_terminal:
        msg = "ralo top needs a terminal, and the output is none; ralo status prints the state once"
        raise RaloError(msg)
    logging.getLogger("ralo_core.client").setLevel(logging.ERROR)  # it would write over the screen
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with target.client(_PATIENCE_SECONDS) as client:
        try:
            _watch(client, console, refresh)
        except KeyboardInterrupt:
            return


def _watch(client: Client, console: Console, refresh: float) -> None:
    history, trouble, since = History(), "", time.monotonic()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                reply = client.transport.request("GET", "/stats", timeout=_RESPONSE_SECONDS)
                history.add(reply.json())
                trouble, since = "", time.monotonic()
            except ConnectionError as error:
                away = time.monotonic() - since
                trouble = f"the orchestrator has not responded for {away:.0f} s; retrying ({error})"
            live.update(screen(history, console, trouble), refresh=True)
            time.sleep(refresh)

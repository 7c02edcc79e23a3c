"""``ralo serve``: the web processes and the learner of one run, supervised.

It stays until a signal arrives, also when the run is over: workers and people still ask. Only with
``--until-finished`` it ends by itself, for schedulers whose job it holds.
"""

import socket
import sys
import time
from pathlib import Path

import click

from ralo_core.cli.config_source import ConfigSource
from ralo_core.cli.options import config_options
from ralo_core.config import Config, LearnerSettings, ServerSettings
from ralo_core.errors import RaloError
from ralo_core.supervise import StopSignal, Supervisor
from ralo_server.cli.shutdown_grace import ShutdownGrace
from ralo_server.doctor.orphans import remove_unqueued
from ralo_server.preparation import prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.rundir.lock import lock
from ralo_server.rundir.stored_config import stored_config
from ralo_server.rundir.tokens import is_loopback, make_tokens, required
from ralo_server.store import Store

_BACKLOG = 512
_TAKE_OVER_SECONDS = 20.0
"""How long the processes of an orchestrator that was killed may take to end."""


@click.command()
@config_options
@click.option("--run-dir", type=click.Path(path_type=Path), help="Default: runs/RECIPE-TIME.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="RUN",
    help="Continue the run in this directory with its config; --set may change limits.",
)
@click.option("--hide-tokens", is_flag=True, help="Do not print new tokens, only their file.")
@click.option(
    "--until-finished",
    is_flag=True,
    help="End once the run is over and its workers have left; wait a minute at most.",
)
@click.pass_context
def serve(
    ctx: click.Context,
    source: ConfigSource,
    run_dir: Path | None,
    resume: Path | None,
    hide_tokens: bool,
    until_finished: bool,
) -> None:
    """Run the orchestrator until Ctrl-C.

    The same command with the same --run-dir continues a run, and so does --resume RUN.
    """
    registry = ctx.find_root().obj
    if resume is None:
        config, recipe = source.gather(registry), source.recipe
        name = f"{recipe or 'run'}-{time.strftime('%Y%m%d-%H%M%S')}"
        directory = RunDirectory((run_dir or Path("runs") / name).resolve())
    elif source.recipe or source.config_file or source.tiny or run_dir:
        raise click.UsageError("--resume takes --set only: the run has its config")
    else:
        directory = RunDirectory(resume.resolve())
        config, recipe = stored_config(directory, registry, source.assignments)
    _serve(directory, config, recipe, hide_tokens, until_finished)


def _serve(
    directory: RunDirectory, config: Config, recipe: str, hide_tokens: bool, until_finished: bool
) -> None:
    server = config.section(ServerSettings)
    supervisor, stopped = Supervisor(server.restart_limit or None), StopSignal()
    # First the lock: the web processes of an orchestrator that was killed hold the port, too.
    with lock(directory, _TAKE_OVER_SECONDS) as held, listen(server.host, server.port) as listener:
        prepare(directory, config, recipe)
        store = Store(directory, config)
        remove_unqueued(store)
        # Here and not where the learner starts: one that was killed must not undo a stop.
        store.run.reopen()
        _guard(directory, server, hide_tokens)
        directory.url_file.unlink(missing_ok=True)
        directory.finished_file.unlink(missing_ok=True)
        try:
            _start(supervisor, directory, config, listener, held.fileno())
            end = ShutdownGrace(store) if until_finished else None
            _watch(supervisor, stopped, directory, end)
            if not stopped:
                directory.finished_file.touch()
        finally:
            supervisor.stop()


def _guard(directory: RunDirectory, server: ServerSettings, hide_tokens: bool) -> None:
    """Make the tokens of a run that needs some, and print who can send requests."""
    if required(server):
        made = make_tokens(directory)
        for role, token in ({} if hide_tokens else made).items():
            click.echo(f"token of a {role}: {token}")
        click.echo(f"requests need a token; they are in {directory.tokens_file}")
    elif not is_loopback(server.host):
        click.echo(
            f"warning: server.auth = 'off' and the server listens on {server.host}: whoever can "
            "reach it can stop the run, read its data and change its weights",
            err=True,
        )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at host and port; raises `RaloError` if none can.

    This process keeps it open: when a web process dies, the next one serves at the same port, and
    clients that connect in between wait instead of being refused.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        msg = (
            f"cannot listen on {host}:{port}: {error}; stop what uses the port, or choose "
            "another with --set server.port=N (0: any free one)"
        )
        raise RaloError(msg) from error


def _start(
    supervisor: Supervisor,
    directory: RunDirectory,
    config: Config,
    listener: socket.socket,
    lock_number: int,
) -> None:
    """Start the processes; each holds the lock as long as it lives, also without this one."""
    python = [sys.executable, "-m"]
    socket_number = listener.fileno()
    supervisor.start(
        "web",
        [*python, "ralo_server.web", str(directory.root), str(socket_number)],
        directory.logs / "web.log",
        pass_fds=[socket_number, lock_number],
    )
    supervisor.start(
        "learner",
        [*python, "ralo_server.learner", str(directory.root)],
        directory.logs / "learner.log",
        environment={"OMP_NUM_THREADS": str(config.section(LearnerSettings).threads)},
        pass_fds=[lock_number],
    )


def _watch(
    supervisor: Supervisor, stopped: StopSignal, directory: RunDirectory, end: ShutdownGrace | None
) -> None:
    announced = False
    while not stopped and not (end and end.over()):
        if not announced and directory.url_file.exists():
            announced = True
            url = directory.url_file.read_text().strip()
            click.echo(f"serving {directory.root} at {url}, with a dashboard")
        for child in supervisor.poll():
            if child.exit_code != 0 or child.name == "web":
                raise RaloError(child.exit_report())
        time.sleep(0.1)

"""``ralo serve``: the web processes and the learner of one run, supervised.

Neighbours: `preparation` makes the run directory; the processes are ``ralo_server.web`` and
``ralo_server.learner``. It stays until a signal comes, also when the run is over: workers and
people still ask.
"""

import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from ralo_core.cli.options import config_options, gather
from ralo_core.config import Config, LearnerSettings, ServerSettings
from ralo_core.errors import RaloError
from ralo_core.supervise import Child, StopSignal, Supervisor, describe_exit
from ralo_server.preparation import lock, prepare
from ralo_server.rundir import RunDirectory


@click.command()
@config_options
@click.option("--run-dir", type=click.Path(path_type=Path), help="Default: runs/RECIPE-TIME.")
@click.pass_context
def serve(
    ctx: click.Context,
    recipe: str,
    config_file: Path | None,
    assignments: Sequence[str],
    tiny: bool,
    run_dir: Path | None,
) -> None:
    """Run the orchestrator until Ctrl-C.

    The same command with the same --run-dir continues a run.
    """
    config = gather(ctx.find_root().obj, recipe, config_file, assignments, tiny)
    name = f"{recipe or 'run'}-{time.strftime('%Y%m%d-%H%M%S')}"
    directory = RunDirectory((run_dir or Path("runs") / name).resolve())
    server = config.section(ServerSettings)
    check_port(server.host, server.port)
    supervisor, stopped = Supervisor(), StopSignal()
    with lock(directory):
        prepare(directory, config, recipe)
        directory.url_file.unlink(missing_ok=True)
        try:
            _start(supervisor, directory, config)
            _watch(supervisor, stopped, directory)
        finally:
            supervisor.stop()


def check_port(host: str, port: int) -> None:
    """Raise `RaloError` if nothing can listen at host and port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            msg = (
                f"cannot listen on {host}:{port}: {error}; stop what uses the port, or choose "
                "another with --set server.port=N (0: any free one)"
            )
            raise RaloError(msg) from error


def _start(supervisor: Supervisor, directory: RunDirectory, config: Config) -> None:
    threads = str(config.section(LearnerSettings).threads)
    for name in ("web", "learner"):
        argv = [sys.executable, "-m", f"ralo_server.{name}", str(directory.root)]
        environment = {"OMP_NUM_THREADS": threads} if name == "learner" else {}
        log_path = directory.logs / f"{name}.log"
        supervisor.start(name, argv, log_path, environment=environment)


def _watch(supervisor: Supervisor, stopped: StopSignal, directory: RunDirectory) -> None:
    announced = False
    while not stopped:
        if not announced and directory.url_file.exists():
            announced = True
            click.echo(f"serving {directory.root} at {directory.url_file.read_text().strip()}")
        for child in supervisor.poll():
            if child.exit_code != 0 or child.name == "web":
                raise RaloError(_obituary(child))
        time.sleep(0.1)


def _obituary(child: Child) -> str:
    how = describe_exit(child.exit_code or 0)
    return (
        f"the {child.name} process failed ({how}); {child.log_path} ends with:\n{child.log_tail()}"
    )

"""Train on this machine: model, run directory, processes, view, end.

The processes are ``ralo serve``, ``ralo sample`` and ``ralo train``. They are started through the
command line, so that this module never imports server or worker, and a run on one machine takes
the same way as one on many: `LocalRun` talks to the orchestrator like any other client.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from ralo.run.stats import History, Stats
from ralo.views.view import View
from ralo_core.access import ADMIN, SAMPLER, TRAINER, read_tokens
from ralo_core.cache import cache_dir
from ralo_core.client import Backoff, Client, Connection
from ralo_core.config import Config, RunSettings, SamplerSettings, ServerSettings, TrainerSettings
from ralo_core.errors import RaloError
from ralo_core.supervise import StopSignal, Supervisor

RALO = (sys.executable, "-m", "ralo_core.cli.main")
_START_SECONDS = 120.0
_POLL_SECONDS = 0.5


def ensure_model(settings: RunSettings, supervisor: Supervisor, stopped: StopSignal) -> Path:
    """Return the model directory that `settings` name, or make the embedded tiny model.

    Raises `RaloError` with the end of the log if the model cannot be made.
    """
    if settings.model:
        return Path(settings.model)
    directory = cache_dir() / "models" / f"tiny-seed{settings.seed}"
    argv = [*RALO, "model", "tiny", str(directory), "--seed", str(settings.seed)]
    child = supervisor.start("model", argv, cache_dir() / "logs" / "model.log", restart=False)
    while not supervisor.poll() and not stopped:
        time.sleep(0.1)
    del supervisor.children["model"]
    if child.exit_code != 0:
        msg = f"making the embedded model failed; {child.log_end()}"
        raise RaloError(msg)
    return directory


@attrs.define(kw_only=True)
class LocalRun:
    """The processes of one run on this machine. `execute` returns the last stats.

    `before_workers` is called once the orchestrator answers, before any worker starts.
    """

    config: Config
    run_dir: Path
    serve_options: Sequence[str]
    samplers: int
    trainers: int
    nproc: int
    ca: Path | None
    supervisor: Supervisor
    stopped: StopSignal
    before_workers: Callable[[Client], object] = lambda client: None

    def execute(self, view: View) -> Stats:
        """Start everything and show it until the run is finished or a signal asks to stop."""
        history = History()
        try:
            client = self._start_server()
            self.before_workers(client)
            self._start_workers(client)
            while not self.stopped:
                self._check_children()
                history.add(client.stats())
                view.show(history)
                if history.latest["state"] == "finished":
                    self._let_workers_finish()
                    break
                time.sleep(_POLL_SECONDS)
            else:
                history.add(client.stats())
        finally:
            view.close()
            self.supervisor.stop()
        return history.latest

    def _start_server(self) -> Client:
        url_file = self.run_dir / "server.url"
        url_file.unlink(missing_ok=True)
        argv = [*RALO, "serve", "--run-dir", str(self.run_dir), "--hide-tokens"]
        argv += self.serve_options
        child = self.supervisor.start("serve", argv, self._log("serve"))
        deadline = time.monotonic() + _START_SECONDS
        while not url_file.exists():
            self._check_children()
            if time.monotonic() > deadline or self.stopped:
                msg = f"the orchestrator did not start; {child.log_end()}"
                raise RaloError(msg)
            time.sleep(0.05)
        url = url_file.read_text().strip()
        # Started again after a kill it must be where the workers look for it.
        child.argv = [*argv, "--set", f"server.port={urlsplit(url).port}"]
        backoff = Backoff(deadline=_START_SECONDS)
        client = self._connection(url, ADMIN).client(ADMIN, "run", backoff=backoff)
        client.health()
        return client

    def _start_workers(self, client: Client) -> None:
        for command, role, count in (
            (["sample"], SAMPLER, self.samplers),
            (["train", "--nproc", str(self.nproc)], TRAINER, self.trainers),
        ):
            connection = self._connection(client.transport.url, role)
            argv = [*RALO, *command, *connection.options()]
            for index in range(count):
                name = f"{command[0]}-{index}"
                self.supervisor.start(
                    name, argv, self._log(name), environment=connection.environment()
                )

    def _connection(self, url: str, role: str) -> Connection:
        token = read_tokens(self.run_dir).get(role, "")
        return Connection(url=url, token=token, ca=self.ca)

    def _check_children(self) -> None:
        for child in self.supervisor.poll():
            if child.exit_code != 0:
                raise RaloError(child.exit_report())
            if child.name == "serve":
                msg = f"the orchestrator ended by itself; its log is {child.log_path}"
                raise RaloError(msg)

    def _let_workers_finish(self) -> None:
        """Wait for the workers to be told that the run is over, so that they end by themselves."""
        deadline = time.monotonic() + 10.0
        while len(self.supervisor.poll()) < self.samplers + self.trainers:
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)

    def _log(self, name: str) -> Path:
        return self.run_dir / "logs" / f"{name}.log"


def worker_threads(config: Config, workers: int) -> list[str]:
    """Return ``--set`` options that share the CPU cores among workers that have no setting."""
    share = max(1, (os.cpu_count() or 1) // max(1, workers))
    options = []
    threads = {
        "sampler": config.section(SamplerSettings).threads,
        "trainer": config.section(TrainerSettings).threads,
    }
    for section, chosen in threads.items():
        if chosen == 0:
            options += ["--set", f"{section}.threads={share}"]
    return options


def server_port(config: Config) -> list[str]:
    """Return ``--set`` options that take any free port unless the user chose one."""
    chosen = config.sources.get("server.port", "default") != "default"
    port = config.section(ServerSettings).port if chosen else 0
    return ["--set", f"server.port={port}"]


def step_size(config: Config, trainers: int) -> list[str]:
    """Return ``--set`` options by which a step takes a gradient of every trainer, unless the user
    chose: taken one by one, each would be older than the last by all the others."""
    if config.sources.get("learner.gradients_per_step", "default") != "default":
        return []
    return ["--set", f"learner.gradients_per_step={max(1, trainers)}"]

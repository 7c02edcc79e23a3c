"""A real ``ralo serve`` and, beside it, real workers: processes, or a sampler in this one.

For tests that need the whole system but want to look into a sampler while it works.
"""

import asyncio
import subprocess
import sys
import threading

from patience import PATIENCE, wait_for

from ralo_core.access import ADMIN
from ralo_core.client import Client, Connection
from ralo_core.client.address import address_of
from ralo_worker.membership import join
from ralo_worker.sampler.runtime import SECTIONS, Sampler


class ServedRun:
    """``ralo serve`` of a recipe in `root` with these ``--set`` assignments, answering and with
    weights."""

    def __init__(self, root, *settings, recipe="grpo"):
        self.root, self.processes = root, {}
        self.directory = root / "run"
        options = [part for setting in settings for part in ("--set", setting)]
        self._serve = ("--plugin", recipe, "--tiny", "--run-dir", str(self.directory), *options)
        self.serve()

    def serve(self, *arguments):
        """Start the orchestrator, for the first time or again."""
        url_file = self.directory / "server.url"
        url_file.unlink(missing_ok=True)
        self.start("serve", *self._serve, *arguments)
        self.wait_for(url_file.exists)
        self.url = url_file.read_text().strip()
        self.client = Client(address_of(str(self.directory), ADMIN))
        self.wait_for(lambda: self.client.version(-1) is not None)

    def start(self, role, *arguments):
        """Start ``ralo ROLE`` with `arguments`; its output goes to a log of its own."""
        command = [sys.executable, "-m", "ralo_core.cli.main", role, *arguments]
        name = f"{role}-{len(self.processes)}"
        with (self.root / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.root)
        self.processes[name] = process

    def stop(self, role):
        """End the processes of a role as Ctrl-C does."""
        for name in [name for name in self.processes if name.startswith(role)]:
            process = self.processes.pop(name)
            process.terminate()
            process.wait(PATIENCE)

    def wait_for(self, condition, pause=0.1):
        """Return the first true value of `condition`; a process that ends early is an error.

        Most conditions ask the server, which costs it time that the run needs.
        """

        def true_while_all_live():
            if not (value := condition()):
                ended = [name for name, child in self.processes.items() if child.poll() is not None]
                assert not ended, self.logs()
            return value

        return wait_for(true_while_all_live, self.logs, pause)

    def stats(self):
        return self.client.stats()

    def samplers(self):
        """Return what ``/stats`` says of samplers that have reported on their engine."""
        workers = self.stats()["workers"]
        return [worker for worker in workers if "engine" in worker]

    def logs(self):
        logs = [*self.root.glob("*.log"), *self.directory.glob("logs/*.log")]
        return "\n".join(f"{log.name}: {log.read_text()[-3000:]}" for log in logs)

    def close(self):
        for role in ("train", "sample", "serve"):
            self.stop(role)


class InThread:
    """A sampler of `run` in a thread of this process, so that a test can look at it."""

    def __init__(self, run):
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(run.url)))
        self._thread.start()
        assert self._ready.wait(PATIENCE), run.logs()

    async def _run(self, url):
        self._loop = asyncio.get_running_loop()
        member = await asyncio.to_thread(
            join, Connection(url=url), "sampler", SECTIONS, threading.Event()
        )
        self.sampler = Sampler(member)
        opening = self.sampler._open

        async def open_and_say_so():
            await opening()
            self._ready.set()

        self.sampler._open = open_and_say_so
        await self.sampler.run()

    def close(self):
        self._loop.call_soon_threadsafe(self.sampler.stop)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

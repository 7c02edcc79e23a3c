"""The orchestrator under attack: ``ralo serve`` on one run directory, and the pids of its parts.

It is started again with the same
command whenever it is gone.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests
from patience import PATIENCE
from ports import port_to_keep

_RALO = (sys.executable, "-m", "ralo_core.cli.main")


class Orchestrator:
    """``ralo serve --run-dir FOLDER`` with `settings`, on a port that stays the same."""

    def __init__(self, folder, settings, log):
        self.port, self.folder, self._log = port_to_keep(), folder, log
        settings = (*settings, f"server.port={self.port}")
        assignments = [part for setting in settings for part in ("--set", setting)]
        self._command = [*_RALO, "serve", "--run-dir", str(folder), *assignments]
        self.starts, self.memory = 0, {"web": [], "learner": []}
        self.start()

    @property
    def url(self):
        """The server's own address, without the proxy."""
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Start it and wait for its answer."""
        self.starts += 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self.wait_for_answer()

    def keep_up(self):
        """Start it again if it is gone."""
        if self._process.poll() is not None:
            self.start()

    def stop(self):
        """Stop it in order and return its exit code."""
        self._process.terminate()
        return self._process.wait(PATIENCE)

    def end(self):
        """See to it that nothing is left of it, also after a failure."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(PATIENCE)

    def wait_for_answer(self):
        """Wait until ``/health`` answers."""
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(0.05)

    def pid(self, part):
        """Return the pid of ``serve``, ``web master``, ``web worker`` or ``learner``, or None."""
        if part == "serve":
            return self._process.pid
        children = {_words(pid): pid for pid in _children(self._process.pid)}
        if part == "learner":
            return _find(children, "ralo_server.learner")
        master = _find(children, "ralo_server.web")
        if part == "web master" or master is None:
            return master
        return next(iter(_children(master)), None)

    def kill(self, part):
        """Kill a part with -9; say whether it was there."""
        pid = self.pid(part)
        try:
            os.kill(pid, signal.SIGKILL)
        except (TypeError, ProcessLookupError):
            return False
        if part == "serve":
            self._process.wait()
        return True

    def note_memory(self):
        """Note the anonymous memory, in MiB, of web worker and learner."""
        for part, name in (("web worker", "web"), ("learner", "learner")):
            size = _anonymous_mib(self.pid(part))
            if size:
                self.memory[name].append(size)

    def _answers(self):
        try:
            return requests.get(f"{self.url}/health", timeout=5).ok
        except requests.RequestException:
            return False


def _find(children, module):
    return next((pid for words, pid in children.items() if module in words), None)


def _words(pid):
    try:
        return tuple(Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
    except OSError:
        return ()


def _children(pid):
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def _anonymous_mib(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)

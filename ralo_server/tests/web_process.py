"""The real web processes of a run, on a port that outlives them."""

import os
import signal
import socket
import subprocess
import sys

import requests
from patience import PATIENCE, wait_for

from ralo_server.cli.serve import listen


class WebProcess:
    """``python -m ralo_server.web`` of a run directory, started and answering."""

    def __init__(self, directory):
        self.directory = directory
        self.listener = listen("127.0.0.1", 0)
        self.start()

    def start(self):
        self.directory.url_file.unlink(missing_ok=True)
        number = self.listener.fileno()
        command = [sys.executable, "-m", "ralo_server.web", str(self.directory.root), str(number)]
        with (self.directory.logs / "web.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, pass_fds=[number])
        wait_for(self._answers, lambda: (self.directory.logs / "web.log").read_text())
        self.url = self.directory.url_file.read_text().strip()

    def connect(self, request):
        """Return a connection on which `request`, or the beginning of one, was sent."""
        host, port = self.url.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)), timeout=PATIENCE)
        connection.sendall(request)
        return connection

    def kill_9(self):
        children = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        for pid in (self.process.pid, *map(int, children.stdout.split())):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def close(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.listener.close()

    def _answers(self):
        try:
            url = self.directory.url_file.read_text().strip()
            return requests.get(f"{url}/health", timeout=5).status_code == 200
        except (requests.ConnectionError, FileNotFoundError):
            return False

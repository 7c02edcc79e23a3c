"""``python -m ralo_server.web RUN_DIR FD``: gunicorn on the listening socket with number FD.

``ralo serve`` starts it. gunicorn's own logging, worker management and graceful stop are used as
they are.
"""

import logging
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from ralo_core.access import read_tokens
from ralo_core.config import ServerSettings
from ralo_core.files.atomic import write_blob
from ralo_server.rundir.directory import RunDirectory
from ralo_server.rundir.tokens import required
from ralo_server.web.app import make_app
from ralo_server.web.live.waiting import Waiting, waiting_places
from ralo_server.web.services import Services

_SOCKET_SECONDS = 30
_GRACE_SECONDS = 10
_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (compared with, not bound to)


class WebServer(BaseApplication):  # type: ignore[misc]
    """gunicorn around the falcon app of one run directory, on an inherited listening socket."""

    def __init__(self, directory: RunDirectory, socket_number: int) -> None:
        self.directory = directory
        self.socket_number = socket_number
        config, _ = directory.load_config(())
        self.settings = config.section(ServerSettings)
        self.waiting = Waiting(places=waiting_places(self.settings.threads))
        super().__init__()

    def load_config(self) -> None:
        """Give gunicorn its settings."""
        options = {
            "bind": f"fd://{self.socket_number}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": self.settings.threads,
            "timeout": 120,
            "graceful_timeout": _GRACE_SECONDS,
            "keepalive": 60,
            "max_requests": 0,
            "limit_request_line": 4094,
            "limit_request_fields": 64,
            "limit_request_field_size": 8190,
            "header_map": "refuse",
            "forwarded_allow_ips": "",
            "preload_app": False,
            "control_socket_disable": True,
            "loglevel": "warning",
            "when_ready": self.announce,
            "post_worker_init": self.worker_started,
        }
        for name, value in options.items():
            self.cfg.set(name, value)
        if self.settings.certfile:
            self.cfg.set("certfile", self.settings.certfile)
            self.cfg.set("keyfile", self.settings.keyfile)

    def load(self) -> Any:
        """Return the falcon app; called in the worker process."""
        tokens = read_tokens(self.directory.root) if required(self.settings) else None
        return make_app(Services(self.directory, self.waiting), tokens)

    def announce(self, server: Any) -> None:
        """Guard against half-sent requests and write down where the server listens."""
        listener = server.LISTENERS[0].sock
        # A client that stops in the middle of a request must not hold a thread until it is killed;
        # accepted sockets inherit the limit. It bounds silence, not the length of a transfer.
        limit = struct.pack("ll", _SOCKET_SECONDS, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        # sendfile waits on, whatever the limit of the socket: a client that asks for a file and
        # does not read it is given up by the kernel.
        listener.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_SOCKET_SECONDS * 1000)
        )
        host, port = listener.getsockname()[:2]
        host = self.settings.public_name or ("127.0.0.1" if host in _ANY_ADDRESS else host)
        scheme = "https" if self.settings.certfile else "http"
        url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        write_blob(self.directory.url_file, f"{url}\n".encode())

    def worker_started(self, worker: Any) -> None:
        """Let waiting requests end as soon as the worker is told to stop."""
        self.waiting.alive = lambda: bool(worker.alive)


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    WebServer(RunDirectory(Path(sys.argv[1])), int(sys.argv[2])).run()

"""How a process reaches the orchestrator of a run: what a person gave on the command line.

A worker, a rank of a trainer and somebody who looks at a run need the same four values. They
travel together, from the command to the `Client` and, by `environment` and `options`, to a child
process.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

import attrs

from ralo_core.access import CA_ENV, TOKEN_ENV
from ralo_core.client.address import address_of
from ralo_core.client.api import Client
from ralo_core.client.transport import Backoff


@attrs.frozen(kw_only=True)
class Connection:
    """The orchestrator at `url`, which is a URL or a run directory that this machine sees.

    `token` goes before the one in the run directory. `ca` is a PEM file of the authority that
    signed the server's certificate, where the system does not know it. `relays` are asked for
    weights before the orchestrator and before the relays of the run's config, in this order.
    """

    url: str
    token: str = attrs.field(default="", repr=False)
    ca: Path | None = None
    relays: Sequence[str] = ()

    def client(
        self,
        role: str,
        worker_id: str = "cli",
        *,
        backoff: Backoff | None = None,
        stopping: threading.Event | None = None,
    ) -> Client:
        """Return a client that shows the token of `role`; nothing is sent yet."""
        address = address_of(self.url, role, self.token)
        return Client(address, worker_id, ca=self.ca, backoff=backoff, stopping=stopping)

    def options(self) -> list[str]:
        """Return the command line options of a child process with this connection.

        Token and authority are not among them, see `environment`.
        """
        relays = [part for relay in self.relays for part in ("--source", relay)]
        return ["--server", self.url, *relays]

    def environment(self) -> dict[str, str]:
        """Return the variables for a child process: an argument could be read by everybody."""
        return {TOKEN_ENV: self.token} | ({CA_ENV: str(self.ca)} if self.ca else {})

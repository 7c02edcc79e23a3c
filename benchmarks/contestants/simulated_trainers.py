"""Trainers without a model: they lease a batch, take the time that a gradient takes, send one.

Everything but the computing is real: the client, the leases, the uploads, the deregistration.
"""

import threading
import uuid

import attrs
import numpy as np
import numpy.typing as npt

from ralo_core.client import Client, WholeBody
from ralo_core.errors import ServerError
from ralo_core.messages.workers import WorkerReport

_WAIT_SECONDS = 2.0


@attrs.define(eq=False)
class Trainer:
    """A trainer of the run at `url` that computes for `seconds` and sends `gradient`; it counts
    what was accepted."""

    url: str
    name: str
    seconds: float
    gradient: npt.NDArray[np.float32]
    accepted: int = attrs.field(default=0, init=False)
    _leaving: threading.Event = attrs.field(factory=threading.Event, init=False)
    _threads: list[threading.Thread] = attrs.field(factory=list, init=False)

    def join(self) -> None:
        """Register and begin to work."""
        client = Client(self.url, self.name)
        client.register("trainer", client.config().plugins, host="here", pid=0)
        self._threads = [
            threading.Thread(target=work, args=(client,)) for work in (self._train, self._beat)
        ]
        for thread in self._threads:
            thread.start()

    def tell_to_leave(self) -> None:
        """Ask it to leave; what it computes on goes back."""
        self._leaving.set()

    def leave(self) -> None:
        """Return once it has left."""
        self._leaving.set()
        for thread in self._threads:
            thread.join()

    def _train(self, client: Client) -> None:
        while not self._leaving.is_set():
            batch = client.batch(_WAIT_SECONDS)
            if batch is None or self._leaving.wait(self.seconds):
                continue
            try:
                client.send_gradient(
                    WholeBody({"codec": "none"}, {"w": self.gradient}, client.transport),
                    upload_id=uuid.uuid4().hex, batch_id=batch.id,
                    base_version=0, weight=1.0, codec="none", metrics={},
                )  # fmt: skip
            except ServerError as error:
                if error.status != 409:
                    raise
            else:
                self.accepted += 1
        client.leave()

    def _beat(self, client: Client) -> None:
        while not self._leaving.wait(1.0):
            client.heartbeat(
                WorkerReport(version=0, tokens=0, working_seconds=1.0, waiting_seconds=0.0)
            )

"""What ends because time has passed: leases, uploads whose batch is lost, workers that are silent.

This is the one place for it. Every web process and the learner call it, so these things end
whichever of the processes is running, and all of them together.
"""

import threading
import time
from collections.abc import Sequence

import attrs

from ralo_server.store import gradients, leases
from ralo_server.store.database import Database
from ralo_server.store.lease_terms import LeaseTerms, WhichLeases
from ralo_server.store.leases import LEASED_TABLES
from ralo_server.store.uploads import Uploads
from ralo_server.store.workers import LostWorker, Workers

_PAUSE_SECONDS = 1.0
"""What is overdue is noticed at the next request, poll or turn of the learner after this."""


@attrs.define
class Expiry:
    """Ends what is overdue in a run; any thread may ask."""

    database: Database
    terms: LeaseTerms
    uploads: Uploads
    workers: Workers
    _next: float = attrs.field(default=0.0, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def expire_if_due(self) -> Sequence[LostWorker]:
        """Do what `expire` does, at most once a second, whichever thread asks."""
        with self._lock:
            if time.monotonic() < self._next:
                return ()
            self._next = time.monotonic() + _PAUSE_SECONDS
        return self.expire()

    def expire(self) -> Sequence[LostWorker]:
        """End everything that is overdue; return the workers that are lost since the last time,
        which the caller tells plugins of."""
        now = self.terms.clock()
        # Mostly there is nothing to end, and reading does not wait for those who write.
        if self._anything_overdue(now):
            with self.database.write() as connection:
                leases.take_back(connection, WhichLeases.overdue(now))
                # After the leases: an upload is abandoned because its batch is not leased any more.
                gradients.abandon(connection)
        # Files and chunks go after the transaction that ended their upload.
        self.uploads.remove_ended()
        lost = self.workers.mark_lost()
        self.workers.forget()
        return lost

    def _anything_overdue(self, now: float) -> bool:
        if any(table.overdue(self.database, now) for table in LEASED_TABLES):
            return True
        return self.uploads.gradients.without_lease()

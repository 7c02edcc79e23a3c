"""The trackers of a run, each with a thread of its own: `jsonl`, and those that the config lists.

What a tracker has not taken at the end stays in the store for the next start.
"""

import logging
import time

from ralo_core.components import BuildContext
from ralo_server.learner.tracking.delivery import Delivery
from ralo_server.store import Store
from ralo_server.trackers.chosen import tracker_names

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 10.0
"""Half of what `ralo_core.supervise` gives a process that is to end."""


class Tracking:
    """Tells the trackers of the run in `store` what was committed; raises `RaloError` for one that
    cannot work here."""

    def __init__(self, store: Store, context: BuildContext) -> None:
        self.records = store.records
        self.deliveries = [
            Delivery(name, store.config.build_named("trackers", name, context), store.records)
            for name in tracker_names(store.config)
        ]
        self._started = False

    def tell(self) -> None:
        """Queue what was committed since the last call; no tracker is waited for."""
        if not self._started:
            self._started = True
            self.records.collect()
            for delivery in self.deliveries:
                delivery.start()
        elif self.records.collect():
            for delivery in self.deliveries:
                delivery.wake()
        for delivery in self.deliveries:
            delivery.look()

    def close(self, seconds: float = _CLOSE_SECONDS) -> bool:
        """Let the trackers take what is left and close them, for at most so long together.

        Return whether all have ended; those that hang are left behind.
        """
        self.tell()
        for delivery in self.deliveries:
            delivery.close()
        deadline = time.monotonic() + seconds
        ended = [delivery.join(deadline - time.monotonic()) for delivery in self.deliveries]
        for delivery, over in zip(self.deliveries, ended, strict=True):
            self._log_remaining(delivery, over)
        return all(ended)

    def _log_remaining(self, delivery: Delivery, over: bool) -> None:
        waiting = self.records.waiting(delivery.name)
        if waiting or not over:
            log.warning(
                "tracker %s %s; it has not taken %d records: it gets them at the next start",
                delivery.name,
                "is closed" if over else "does not return",
                waiting,
            )

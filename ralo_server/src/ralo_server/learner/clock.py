"""How long the run has been worked on: the time between restarts does not count."""

import time

from ralo_server.store import Store
from ralo_server.store.facts import total

_STORE_EVERY_SECONDS = 0.5


class Clock:
    """Starts with the first problem handed out, so that the loading of models does not count."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._since = time.monotonic()

    def elapsed(self) -> float:
        """Return the seconds of work so far."""
        return self._store.run.elapsed() + self._unstored()

    def keep(self) -> None:
        """Store the time now and then."""
        if time.monotonic() - self._since >= _STORE_EVERY_SECONDS:
            self._store.run.tick(self._unstored())
            self._since = time.monotonic()

    def _unstored(self) -> float:
        if not total(self._store.database, "problems_issued"):
            self._since = time.monotonic()
        return time.monotonic() - self._since

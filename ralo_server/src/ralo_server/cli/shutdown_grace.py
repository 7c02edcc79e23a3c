"""How long an orchestrator whose run is over waits for its workers to hear of it and leave."""

import time

import attrs

from ralo_server.store import Store
from ralo_server.store.run_state import FINISHED

_LOOK_SECONDS = 1.0
_LONGEST_SECONDS = 60.0


@attrs.define
class ShutdownGrace:
    """The grace of the run in `store`, which is looked at once a second."""

    store: Store
    _next_look: float = attrs.field(default=0.0, init=False)
    _finished: float | None = attrs.field(default=None, init=False)

    def over(self) -> bool:
        """Say whether the run is over and either no worker is left or a minute has passed."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_SECONDS
        if self.store.run.current() != FINISHED:
            self._finished = None
            return False
        if self._finished is None:
            self._finished = now
            return False
        return now - self._finished > _LONGEST_SECONDS or not self.store.workers.anyone()

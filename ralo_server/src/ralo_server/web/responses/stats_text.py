"""The reply of ``/stats`` as text: its steps are written once per step, not once per request.

Every view asks for it, up to twice a second each, and the steps are most of its bytes.
"""

import threading

from ralo_core.structuring import unstructure
from ralo_server.store import Store
from ralo_server.web.live.current_stats import CurrentStats
from ralo_server.web.responses.json_response import json_text


class StatsText:
    """The text for the run in `store`; any thread may ask."""

    def __init__(self, store: Store, current: CurrentStats) -> None:
        self._store, self._current = store, current
        self._lock = threading.Lock()
        self._steps: tuple[int, str] = (-1, "")

    def now(self) -> str:
        """Return a `ralo_core.messages.stats.Stats` as JSON, as it is now."""
        state = self._current.now()
        return f'{json_text(unstructure(state))[:-1]},"steps":{self._steps_text(state.step)}}}'

    def _steps_text(self, newest: int) -> str:
        with self._lock:
            if self._steps[0] != newest:
                self._steps = (newest, json_text(self._store.shown_steps.all()))
            return self._steps[1]

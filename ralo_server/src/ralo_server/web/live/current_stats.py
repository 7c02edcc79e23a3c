"""The state of the run as it is now, with the sentence on what limits it."""

import attrs

from ralo_core.access import SAMPLER, TRAINER
from ralo_core.messages.stats import RunStats
from ralo_server.store import Store
from ralo_server.store.views.statistics import present_state
from ralo_server.web.live.bottleneck import bottleneck
from ralo_server.web.live.waiting_window import WaitingWindow


@attrs.define
class CurrentStats:
    """The state of the run in `store`; any thread may ask.

    Whoever asks, for ``/stats``, ``/events`` or ``/metrics``, asks here: each look is a point of
    the same window of time, so all views decide by the same.
    """

    _store: Store
    _window: WaitingWindow = attrs.field(factory=WaitingWindow, init=False)

    def now(self) -> RunStats:
        """Read the state out of the store and complete it."""
        stats = present_state(self._store)
        samplers, trainers = self._window.waiting(stats.workers, SAMPLER, TRAINER)
        return attrs.evolve(stats, bottleneck=bottleneck(stats, samplers, trainers))

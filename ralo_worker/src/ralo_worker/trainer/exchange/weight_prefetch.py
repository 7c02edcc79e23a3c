"""New weight versions, brought to this machine while the trainer computes.

Every rank brings them by itself; ranks of one machine share the files. A group swaps to a version
once all of its ranks have it.
"""

import threading
from contextlib import suppress

from ralo_core.errors import RunOver
from ralo_worker.membership import Activity
from ralo_worker.trainer.exchange.background_call import BackgroundCall
from ralo_worker.weights.cache import WeightsCache
from ralo_worker.weights.local_version import LocalVersion

_WAIT_SECONDS = 2.0


class WeightPrefetch:
    """The versions of `cache` that are newer than `first`; looks for them by itself if `overlap`,
    else when it is asked."""

    def __init__(
        self,
        cache: WeightsCache,
        first: LocalVersion,
        activity: Activity,
        stopping: threading.Event,
        overlap: bool,
    ) -> None:
        self._cache, self._activity, self._stopping = cache, activity, stopping
        self._newest = first.version.number
        self._staged: dict[int, LocalVersion] = {}
        self._lock = threading.Lock()
        self._over = False
        self._following: BackgroundCall[None] = BackgroundCall("ralo-weights", overlap)
        self._overlap = overlap
        if overlap:
            self._following.start(self._follow)

    def numbers(self) -> set[int]:
        """Return the versions that are on this machine and newer than what was taken. Raises what
        bringing them raised."""
        if not self._overlap:
            self._look(wait=0.0)
        with suppress(TimeoutError):  # the thread is still at work, as it should be
            self._following.result(0.0)
        with self._lock:
            return set(self._staged)

    def take(self, number: int) -> LocalVersion:
        """Return version `number`, which is here, and forget it and the older ones."""
        with self._lock:
            found = self._staged[number]
            self._staged = {n: staged for n, staged in self._staged.items() if n > number}
        return found

    def _follow(self) -> None:
        while not self._stopping.is_set() and not self._over:
            self._look(_WAIT_SECONDS)

    def _look(self, wait: float) -> None:
        try:
            found = self._cache.newest(self._newest, wait)
        except RunOver:  # rank 0 hears it when it asks for the next batch
            self._over, found = True, None
        except ConnectionError:
            if not self._stopping.is_set():
                raise
            found = None
        if found is not None:
            self._activity.fetched(found)
            self._newest = found.version.number
            with self._lock:
                self._staged[self._newest] = found

"""New weight versions, brought to this machine while the trainer computes.

Every rank brings them by itself; ranks of one machine share the files. A group swaps to a version
once all of its ranks have it.

Neighbours: `weights.cache` brings versions, `runtime` swaps between batches.
"""

import logging
import threading

from ralo_core.errors import RunOver
from ralo_worker.membership import Activity
from ralo_worker.weights.cache import WeightsCache
from ralo_worker.weights.staged import Staged

log = logging.getLogger(__name__)

_WAIT_SECONDS = 2.0


class WeightsAhead:
    """The versions of `cache` that are newer than `first`; looks for them by itself if `overlap`,
    else when it is asked."""

    def __init__(
        self,
        cache: WeightsCache,
        first: Staged,
        activity: Activity,
        stopping: threading.Event,
        overlap: bool,
    ) -> None:
        self._cache, self._activity, self._stopping = cache, activity, stopping
        self._newest = first.version.number
        self._staged: dict[int, Staged] = {}
        self._fault: Exception | None = None
        self._thread = None
        if overlap:
            self._thread = threading.Thread(target=self._follow, name="ralo-weights", daemon=True)
            self._thread.start()

    def numbers(self) -> set[int]:
        """Return the versions that are here and not swapped in. Raises what bringing them did."""
        if self._thread is None:
            self._look(wait=0.0)
        if self._fault is not None:
            raise self._fault
        return set(self._staged)

    def take(self, number: int) -> Staged:
        """Return version `number`, which is here, and forget it and the older ones."""
        found = self._staged[number]
        self._staged = {n: staged for n, staged in self._staged.items() if n > number}
        return found

    def _follow(self) -> None:
        try:
            while not self._stopping.is_set():
                self._look(_WAIT_SECONDS)
        except (RunOver, ConnectionError) as news:
            # The main thread hears the same, unless only this connection was given up.
            log.debug("no more weights are fetched: %s", news)
        except Exception as error:  # whatever it is, the main thread must not go on without weights
            self._fault = error

    def _look(self, wait: float) -> None:
        found = self._cache.newest(self._newest, wait)
        if found is not None:
            self._activity.fetched(found)
            self._newest = found.version.number
            self._staged = {**self._staged, self._newest: found}

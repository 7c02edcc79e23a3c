"""The next batch, leased while the present one is computed, so that it is there when that is done.

Not earlier: a batch that lies here is one that another trainer lacks, and it gets stale. So it is
asked for as long before the end of the present one as the last ones took to come.

Only rank 0 leases batches. The client renews the leases of those that lie here.
"""

import threading
import time
from collections import deque

from ralo_core import Batch
from ralo_core.client import Client
from ralo_worker.trainer.exchange.background_call import BackgroundCall
from ralo_worker.trainer.phases import Phases

_WAIT_SECONDS = 2.0
_REMEMBERED = 16
_EARLY = 2.0
"""Begin so many times the duration of a fetch ahead: the next one may take longer."""


class BatchPrefetch:
    """Batches from `client`; none ahead without `overlap`."""

    def __init__(
        self, client: Client, phases: Phases, stopping: threading.Event, overlap: bool
    ) -> None:
        self._client, self._phases, self._stopping = client, phases, stopping
        self._overlap = overlap
        self._ahead: BackgroundCall[Batch | None] = BackgroundCall("ralo-fetch", overlap)
        self._took: deque[float] = deque(maxlen=_REMEMBERED)

    def next(self) -> Batch | None:
        """Return a batch, None if there is none within seconds. Raises what the client does."""
        with self._phases("waiting"):
            if not self._ahead.busy:
                return self._ask()
            try:
                return self._ahead.result(_WAIT_SECONDS)
            except TimeoutError:
                return None

    def prepare(self, busy_seconds: float) -> None:
        """Have the next batch ready in `busy_seconds`."""
        if self._overlap and not self._ahead.busy:
            # The shortest of the last: the others waited for a batch that was not there yet.
            self._ahead.start(self._later, busy_seconds - _EARLY * min(self._took, default=0.0))

    def close(self) -> None:
        """Fetch no more; a batch that was fetched and not taken stays leased."""
        self._ahead.close()

    def _later(self, seconds: float) -> Batch | None:
        if seconds > 0:
            self._stopping.wait(seconds)
        while not self._stopping.is_set():
            batch = self._ask()
            if batch is not None:
                return batch
        return None

    def _ask(self) -> Batch | None:
        started = time.monotonic()
        with self._phases("fetch"):
            batch = self._client.batch(_WAIT_SECONDS)
        if batch is not None:
            self._took.append(time.monotonic() - started)
        return batch

"""Copies the parts of published versions to the object store, while steps are taken.

The store of the run says what is missing, so a process that was killed continues where it was. An
object store that is slow or away delays nothing else: until a part is there the orchestrator
serves it.
"""

import logging
import threading

from ralo_core.client import Backoff
from ralo_server.models.object_store import ObjectStore
from ralo_server.store.parts import Parts

log = logging.getLogger(__name__)


class ObjectStoreUploads:
    """A thread that keeps `target` at the parts of the versions that are kept."""

    def __init__(self, parts: Parts, target: ObjectStore, backoff: Backoff | None = None) -> None:
        self._parts = parts
        self._target = target
        self._backoff = backoff or Backoff(first=1.0, cap=60.0)
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="ralo-store", daemon=True)

    def start(self) -> None:
        """Begin with what an earlier process left undone."""
        self._parts.aim_at(self._target.url)
        self._news.set()
        self._thread.start()

    def wake(self) -> None:
        """Look again: a version was published or pruned."""
        self._news.set()

    def close(self) -> None:
        """Stop before the next part."""
        self._stopping.set()
        self._news.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            if self._stopping.is_set():
                return
            try:
                self._catch_up()
            except Exception as error:  # noqa: BLE001 (every filesystem has exceptions of its own)
                self._postpone(error)

    def _catch_up(self) -> None:
        """Put missing parts there, the newest version first, and remove those no longer needed."""
        while (missing := self._parts.unstored()) and not self._stopping.is_set():
            part = missing[0]
            try:
                self._target.put(part.path, part.file.sha256)
            except FileNotFoundError:
                if part.path.exists():
                    raise
                continue  # pruned meanwhile: it is no longer among the missing
            self._parts.note_stored(part.file.sha256)
            self._recovered()
        for sha256 in self._parts.superfluous():
            # First the row: a part that is there without a row is put there again, but workers
            # would be redirected to a part that has a row and is gone.
            self._parts.note_removed(sha256)
            self._target.remove(sha256)

    def _postpone(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            log.warning("no part can be put into %s (%s); trying again", self._target.url, error)
        self._stopping.wait(self._backoff.delay(self._failures))
        self._news.set()

    def _recovered(self) -> None:
        if self._failures:
            log.info("parts can be put into %s again", self._target.url)
        self._failures = 0

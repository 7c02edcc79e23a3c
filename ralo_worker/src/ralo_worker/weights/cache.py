"""Weight versions on this machine, shared by its workers: fetched once, verified, then used.

A version appears under its name only when every file has the right sha256 and is on the disk. A
file lock keeps workers of one machine from fetching it twice.
"""

import fcntl
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ralo_core.cache import cache_dir
from ralo_core.client import Client
from ralo_core.data import WeightVersion
from ralo_core.errors import ServerError
from ralo_core.files.atomic import new_directory
from ralo_worker.weights.assembly import assemble
from ralo_worker.weights.local import LocalVersions
from ralo_worker.weights.local_version import LocalVersion
from ralo_worker.weights.parts import PartFetcher
from ralo_worker.weights.room import NoRoomError
from ralo_worker.weights.sources import Sources

log = logging.getLogger(__name__)

_FULL_SECONDS = 5.0


class WeightsCache:
    """Versions of the run that `client` works for; `relays` are tried before the orchestrator."""

    def __init__(
        self, client: Client, run: str, root: Path | None = None, *, relays: Iterable[str] = ()
    ) -> None:
        # The first version's digest tells runs of one name on different servers apart.
        digest = client.manifest(0).sha256[:12]
        self._client = client
        self._folder = (root or cache_dir() / "weights") / f"{run}-{digest}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._local = LocalVersions(self._folder)
        self._fetcher = PartFetcher(Sources(client, relays))
        self._full = False

    def newest(self, after: int, wait: float = 0.0) -> LocalVersion | None:
        """Stage the newest version if it is newer than `after`.

        A version that is pruned while a slow machine still fetches it gives way to a newer one.
        While the disk is too full for it a worker that has one (`after` is not negative) is told
        of none and goes on with its own; the next call tries again.
        """
        while (version := self._client.version(after, wait)) is not None:
            try:
                staged = self._stage(version)
            except ServerError as error:
                if error.status != 404:
                    raise
                log.info("version %d is gone already; taking a newer one", version.number)
            except NoRoomError as error:
                self._note_full(error)
                self._client.transport.pause(_FULL_SECONDS if after < 0 else wait)
                if after >= 0:
                    return None
            else:
                return staged
        return None

    def stage(self, version: WeightVersion) -> LocalVersion:
        """Return `version` with its files on this machine, fetching what is not there.

        Waits for room on the disk. Raises what else `PartFetcher.fetch` raises, `ServerError` 404
        for a version that was pruned.
        """
        while True:
            try:
                return self._stage(version)
            except NoRoomError as error:
                if self._client.transport.stopping.is_set():
                    raise
                self._note_full(error)
                self._client.transport.pause(_FULL_SECONDS)

    def _stage(self, version: WeightVersion) -> LocalVersion:
        target = self._local.directory(version)
        if self._local.claim(target):
            return LocalVersion(version=version, directory=target)
        with self._lock():
            started, fetched = time.monotonic(), 0
            if not target.is_dir():
                fetched = self._make(version, target)
                self._local.prune(target)
        seconds = time.monotonic() - started if fetched else 0.0
        return LocalVersion(version=version, directory=target, bytes=fetched, seconds=seconds)

    def _make(self, version: WeightVersion, target: Path) -> int:
        """Let `target` appear with all files of `version`; return the bytes that were fetched."""
        with new_directory(target) as partial:
            fetched = assemble(version, partial, self._local, self._fetcher, self._client.deltas)
            self._local.describe(version, partial)
        self._note_room()
        return fetched

    def _note_full(self, error: NoRoomError) -> None:
        if not self._full:
            log.error("%s; trying again until there is room", error)
        self._full = True

    def _note_room(self) -> None:
        if self._full:
            log.info("there is room for weights again in %s", self._folder)
        self._full = False

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

"""Weight versions on this machine, shared by its workers: downloaded once, verified, then used.

Neighbours: sampler and trainer ask for a version and get a `Staged` directory. A version appears
under its name only when every file has the right sha256; a file lock keeps workers of one machine
from fetching it twice.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ralo_core.cache import cache_dir
from ralo_core.client import Client
from ralo_core.data import WeightFile, WeightVersion
from ralo_core.errors import RaloError, ServerError
from ralo_worker.weights.deltas import Present, make_from_present
from ralo_worker.weights.staged import Staged

log = logging.getLogger(__name__)

_KEPT = 2
_TRIES = 3
_MINIMUM_AGE_SECONDS = 60.0


class WeightsCache:
    """Versions of the run that `client` works for."""

    def __init__(self, client: Client, run: str, root: Path | None = None) -> None:
        # The first version's digest tells runs of one name on different servers apart.
        digest = client.manifest(0).sha256[:12]
        self._client = client
        self._folder = (root or cache_dir() / "weights") / f"{run}-{digest}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._fetched: dict[str, Path] = {}

    def newest(self, after: int, wait: float = 0.0) -> Staged | None:
        """Stage the newest version if it is newer than `after`.

        A version that is pruned while a slow machine still fetches it gives way to a newer one.
        """
        while (version := self._client.version(after, wait)) is not None:
            try:
                return self.stage(version)
            except ServerError as error:
                if error.status != 404:
                    raise
                log.info("version %d is gone already; taking a newer one", version.number)
        return None

    def stage(self, version: WeightVersion) -> Staged:
        """Return `version` with its files on this machine, fetching what is not there.

        Raises `RaloError` if the files do not have the announced sha256 after three tries, and
        `ServerError` 404 if the version was pruned.
        """
        target = self._folder / f"v{version.number:06d}-{version.sha256[:12]}"
        if target.is_dir():
            return Staged(version=version, directory=target)
        with self._lock():
            started, fetched = time.monotonic(), 0
            if not target.is_dir():
                fetched = self._fetch(version, target)
                self._prune(target)
        seconds = time.monotonic() - started if fetched else 0.0
        return Staged(version=version, directory=target, bytes=fetched, seconds=seconds)

    def _fetch(self, version: WeightVersion, target: Path) -> int:
        """Bring the files to `target`; return the bytes that came over the network."""
        partial = target.with_name(f"{target.name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        ask, present = self._client.deltas, self._present()
        fetched = make_from_present(version, partial, present, ask, self._fetch_file)
        if fetched is None:
            fetched = sum(
                self._fetch_file(version.number, file, partial / file.name)
                for file in version.files
            )
        partial.rename(target)
        self._fetched = {file.sha256: target / file.name for file in version.files}
        return fetched

    def _fetch_file(self, number: int, file: WeightFile, path: Path) -> int:
        known = self._fetched.get(file.sha256)
        if known is not None and known.is_file():
            os.link(known, path)  # config and tokenizer are the same in every version
            return 0
        for _ in range(_TRIES):
            try:
                self._client.download(number, file.name, path)
            except ConnectionError as error:
                log.warning("%s; fetching again", error)
                continue
            if _sha256(path) == file.sha256:
                return file.size
            log.warning("%s of version %d arrived damaged; fetching again", file.name, number)
        msg = f"{file.name} of version {number} did not arrive whole in {_TRIES} downloads"
        raise RaloError(msg)

    def _present(self) -> list[Present]:
        """Return the versions that lie here whole."""
        folders = [path for path in self._folder.glob("v*-*") if path.suffix != ".part"]
        named = [(folder, folder.name[1:].split("-")) for folder in folders]
        return [Present(int(number), digest, folder) for folder, (number, digest) in named]

    def _prune(self, newest: Path) -> None:
        """Remove versions that nobody on this machine can still be opening."""
        folders = sorted(path for path in self._folder.glob("v*") if path.is_dir())
        for folder in folders[:-_KEPT]:
            age = time.time() - folder.stat().st_mtime
            if folder != newest and age > _MINIMUM_AGE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

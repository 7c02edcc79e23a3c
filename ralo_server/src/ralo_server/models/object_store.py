"""The object store of a run: parts of versions outside the run directory, for workers to fetch.

Any URL that fsspec knows will do, but only a filesystem that can sign URLs takes load off the
orchestrator. fsspec is imported where a store is configured, and nowhere else.
"""

import threading
from pathlib import Path
from typing import Any

from ralo_core.errors import RaloError

_SIGNED_SECONDS = 3600


class ObjectStore:
    """Parts below `url`, for example ``s3://bucket/prefix``, each named by its sha256."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._filesystem, self._prefix = _open(url)
        self._signs = True
        self._turn = threading.Lock()

    def put(self, path: Path, sha256: str) -> None:
        """Copy the file at `path` there; raises what the filesystem raises."""
        self._filesystem.makedirs(self._prefix, exist_ok=True)
        self._filesystem.put_file(str(path), self._name(sha256))

    def remove(self, sha256: str) -> None:
        """Remove a part; one that is not there is no fault."""
        try:
            self._filesystem.rm_file(self._name(sha256))
        except FileNotFoundError:
            return

    def signed_url(self, sha256: str) -> str:
        """Return where a part can be fetched for an hour without a token, ``""`` if the
        filesystem has no such URLs."""
        with self._turn:  # not every filesystem says that it is safe to share
            if self._signs:
                try:
                    name = self._name(sha256)
                    return str(self._filesystem.sign(name, expiration=_SIGNED_SECONDS))
                except NotImplementedError:
                    self._signs = False
        return ""

    def _name(self, sha256: str) -> str:
        return f"{self._prefix}/{sha256}"


def _open(url: str) -> tuple[Any, str]:
    """Return the filesystem and the path in it; raises `RaloError` saying what is missing."""
    try:
        import fsspec
    except ImportError:
        msg = f"weights.store = {url!r} needs fsspec: pip install 'ralo-server[store]'"
        raise RaloError(msg) from None
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        msg = f"weights.store = {url!r} cannot be opened: {error}"
        raise RaloError(msg) from error
    return filesystem, str(path).rstrip("/")

"""Writes a file front to back, hashing it and bringing it to the disk while its content is made."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

_SYNC_BYTES = 1 << 26
"""A sync has a fixed cost; this many bytes are worth one."""


def write_hashed(
    path: Path,
    blocks: Iterable[memoryview],
    seen: Callable[[memoryview], None] | None = None,
) -> str:
    """Write `blocks` to `path` and return the sha256 of the file in hexadecimal.

    A block is written, hashed and shown to `seen` by a thread each while the next is made: it must
    stay as it is until the one after the next is asked for, so two buffers in turn are enough.
    Syncing begins with the first blocks, so that little is left to sync at the end, which the
    caller has to do.
    """
    digest = hashlib.sha256()
    with path.open("wb", buffering=0) as file, _Threads() as threads:
        under_way: deque[list[Future[None]]] = deque()
        for block in blocks:
            tasks = [
                threads.writes.submit(_put, file, block),
                threads.hashes.submit(digest.update, block),
            ]
            if seen is not None:
                tasks.append(threads.looks.submit(seen, block))
            under_way.append(tasks)
            threads.sync_now_and_then(file)
            if len(under_way) > 1:
                _wait_for(under_way.popleft())
        for last in under_way:
            _wait_for(last)
        threads.wait_for_sync()
    return digest.hexdigest()


class _Threads:
    """One thread each for writing, hashing, looking and syncing."""

    def __init__(self) -> None:
        self.writes, self.hashes, self.looks, self.syncs = (ThreadPoolExecutor(1) for _ in range(4))
        self._syncing: Future[None] | None = None
        self._synced = 0

    def sync_now_and_then(self, file: BinaryIO) -> None:
        """Begin to sync what is written, unless a sync is under way or there is little."""
        written = file.tell()
        if written - self._synced < _SYNC_BYTES or (self._syncing and not self._syncing.done()):
            return
        self.wait_for_sync()
        self._synced = written
        self._syncing = self.syncs.submit(os.fsync, file.fileno())

    def wait_for_sync(self) -> None:
        """Wait for the sync under way; raise its error, which the kernel reports only once."""
        if self._syncing:
            self._syncing.result()

    def __enter__(self) -> "_Threads":
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self.writes, self.hashes, self.looks, self.syncs):
            pool.shutdown()


def _put(file: BinaryIO, block: memoryview) -> None:
    left = block
    while left:
        left = left[file.write(left) :]


def _wait_for(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        future.result()

"""The file of an upload while it is received: preallocated, written in place by many requests.

The learner maps the same file later, so an upload is written once. Locks belong to the open file
description: they hold between threads and between processes, and the kernel frees them when the
last descriptor is closed, also after a kill.
"""

import fcntl
import os
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from ralo_core.files.atomic import sync
from ralo_core.files.digests import Digest

_writing = threading.Lock()
"""The kernel lets one thread at a time write into a file, and lets the others spin for it, which
takes more CPU than the write. Here they sleep."""


class Occupied(Exception):  # noqa: N818 (it passes)
    """Raised while another request writes to, or validates, these bytes."""


class Removed(Exception):  # noqa: N818 (the upload ended, which is no fault)
    """Raised when the file is gone."""


@attrs.frozen
class PartFile:
    """The file at `path`, which exists and will have `size` bytes."""

    path: Path
    size: int

    def preallocate(self) -> None:
        """Take the disk space; raises `Removed`, and `OSError` (ENOSPC) if there is too little."""
        with self._open() as descriptor:
            if os.fstat(descriptor).st_size != self.size:
                os.posix_fallocate(descriptor, 0, self.size)
                os.fsync(descriptor)
                sync(self.path.parent)  # the name, too, must outlive a power cut

    @contextmanager
    def locked(self, offset: int, length: int) -> Iterator[int]:
        """Yield a descriptor that alone may write these bytes; raises `Occupied` or `Removed`."""
        with self._open() as descriptor:
            wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, offset, length, 0)
            try:
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
            except (BlockingIOError, PermissionError) as error:
                raise Occupied from error
            yield descriptor

    @contextmanager
    def _open(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, os.O_RDWR)
        except FileNotFoundError as error:
            raise Removed from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def write_through(descriptor: int, offset: int, blocks: Iterable[bytes | memoryview]) -> str:
    """Write `blocks` from `offset` on, to the disk; return their digest in hexadecimal.

    When this returns the data is on the disk. It is not read again to verify it.
    """
    digest = Digest()
    for block in blocks:
        digest.update(block)
        view = memoryview(block)
        while view:
            with _writing:
                written = os.pwrite(descriptor, view, offset)
            offset, view = offset + written, view[written:]
    os.fdatasync(descriptor)
    return digest.hexdigest()

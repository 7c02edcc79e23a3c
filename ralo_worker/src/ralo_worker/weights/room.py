"""Files that get all their bytes of disk before the first is written.

So a disk that is too full is noticed at once, with nothing fetched yet, and nothing is left behind.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ralo_core.errors import RaloError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class NoRoomError(RaloError):
    """A file does not fit on the disk of the weights cache."""


@contextmanager
def new_file(path: Path, size: int) -> Iterator[int]:
    """Yield the descriptor of a new file of `size` bytes, synced at the end of the block.

    After an error there is no file. Raises `NoRoomError` naming the path and the bytes.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        if size:
            os.posix_fallocate(descriptor, 0, size)
        yield descriptor
        os.fsync(descriptor)
    except BaseException as error:
        path.unlink()
        if isinstance(error, OSError) and error.errno in _FULL:
            free = shutil.disk_usage(path.parent).free
            msg = (
                f"no room for {path}: it needs {size} bytes, {free} are free ({error.strerror}); "
                "make room there, or put the cache elsewhere with RALO_CACHE"
            )
            raise NoRoomError(msg) from error
        raise
    finally:
        os.close(descriptor)

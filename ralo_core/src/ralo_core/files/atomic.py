"""Files and folders that are there as a whole or not at all: written aside, synced, renamed.

A row of the store may point at a file only once it has its name from here: then the file outlives
a power cut.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".part"
"""Ending of the name of what is not whole yet."""


def write_blob(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write `data` to `path`, durably and all at once, with `mode` less the umask."""
    # Two threads may write the same blob, when a client sends it again: neither may rename what
    # the other has not finished.
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{UNFINISHED}")
    with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `path`, synced, when the block ends without error.

    After an error nothing of it is left. What was at `path` before is removed first. One process
    at a time may do this for the same `path`.
    """
    partial = path.with_name(f"{path.name}{UNFINISHED}")
    for stale in (partial, path):
        if stale.exists():
            shutil.rmtree(stale)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial)
        raise
    # The files and their names in the folder must be on the disk before the folder has its name.
    for file in [*partial.iterdir(), partial]:
        sync(file)
    partial.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files that are whole or not there: written aside, synced, renamed.

Neighbours: the web side stores trees and gradients with it, the learner weights and state.
A row of the store points at a blob only after it got its name here.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCK = 1 << 20
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
def new_directory(path: Path, spare: Path | None = None) -> Iterator[Path]:
    """Yield a folder that becomes `path`, synced, when the block ends without error.

    It is empty, or the folder `spare` with the files in it, which is gone afterwards.
    """
    partial = path.with_name(f"{path.name}{UNFINISHED}")
    for stale in (partial, path):
        if stale.exists():
            shutil.rmtree(stale)
    if spare is None:
        partial.mkdir(parents=True)
    else:
        spare.rename(partial)
    yield partial
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


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal, reading it once in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()

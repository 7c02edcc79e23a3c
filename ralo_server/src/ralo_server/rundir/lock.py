"""Who works in a run directory: one orchestrator at a time, held by a lock of the kernel.

``ralo serve`` takes it and passes it to its processes, so that it is free only when the last of
them is gone. Whatever changes a stopped run takes it, too. A lock cannot be left behind: the kernel
frees it.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from ralo_core.errors import RaloError
from ralo_server.rundir.directory import RunDirectory

_PAUSE_SECONDS = 0.1
_WAIT_SECONDS = 1.0


@contextmanager
def lock(directory: RunDirectory, wait_seconds: float = _WAIT_SECONDS) -> Iterator[IO[str]]:
    """Hold the lock of a run; yield its open file, which names this process while it is held.

    Raises `RaloError` if another orchestrator has it for more than `wait_seconds`.
    """
    directory.root.mkdir(parents=True, exist_ok=True)
    with directory.lock_file.open("a+") as file:
        deadline = time.monotonic() + wait_seconds
        while not _try(file):
            if time.monotonic() >= deadline:
                msg = (
                    f"another orchestrator is running in {directory.root}; stop it or use "
                    "another folder"
                )
                raise RaloError(msg)
            time.sleep(_PAUSE_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file
        file.truncate(0)


def is_running(directory: RunDirectory) -> bool:
    """Say whether an orchestrator works in the directory now."""
    try:
        with directory.lock_file.open() as file:
            return not _try(file)
    except FileNotFoundError:
        return False


def ended_by_force(directory: RunDirectory) -> bool:
    """Say whether the last orchestrator had no time to end in order."""
    try:
        return not is_running(directory) and bool(directory.lock_file.read_text())
    except FileNotFoundError:
        return False


def _try(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

"""What a run directory shows from outside: state, progress, size.

state.db is opened read-only, so a run that is being trained, or one of another version of
ralo-server, is left as it is.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from ralo_server.rundir.directory import RunDirectory
from ralo_server.rundir.lock import is_running
from ralo_server.store.overview import UNREADABLE, Overview, overview
from ralo_server.store.run_state import FINISHED

STOPPED = "stopped"


@attrs.frozen(kw_only=True)
class RunListing:
    """A run; `state` is ``stopped`` for one that is neither finished nor running now, and
    ``unreadable`` where state.db is damaged."""

    directory: str
    name: str
    recipe: str
    state: str
    running: bool
    step: int
    version: int
    reward: float | None
    accuracy: float | None
    bytes: int


def list_runs(parent: Path) -> Iterator[RunListing]:
    """Yield the run directories in `parent`, or `parent` itself if it is one, by name."""
    folders = [parent, *sorted(path for path in parent.iterdir() if path.is_dir())]
    for folder in folders:
        directory = RunDirectory(folder)
        if directory.config_file.is_file() and directory.state.is_file():
            yield _listing(directory)


def shown_state(found: Overview, running: bool) -> str:
    """Return the state of a run as lists show it."""
    return found.state if running or found.state in (FINISHED, UNREADABLE) else STOPPED


def _listing(directory: RunDirectory) -> RunListing:
    running = is_running(directory)
    found = overview(directory.state)
    return RunListing(
        directory=str(directory.root),
        name=found.name,
        recipe=found.recipe,
        state=shown_state(found, running),
        running=running,
        step=found.step,
        version=found.version,
        reward=found.reward,
        accuracy=found.accuracy,
        bytes=size_on_disk(directory.root),
    )


def size_on_disk(folder: Path) -> int:
    """Return the bytes of all files below `folder`; a file with several names counts once."""
    sizes = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(parent, name))
            except FileNotFoundError:
                continue  # a running orchestrator has just removed it
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())

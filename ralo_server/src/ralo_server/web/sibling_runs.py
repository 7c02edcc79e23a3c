"""The runs that lie beside this one, looked at and never changed.

A folder that is no run, or a damaged one, is passed over or said to be unreadable. A run is asked
for by the name of its folder, which is looked up among those that are there.
"""

import os
import threading
from collections import OrderedDict
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs

from ralo_core.messages.runs import SiblingRun
from ralo_server.rundir.directory import RunDirectory
from ralo_server.rundir.listing import shown_state
from ralo_server.rundir.lock import is_running
from ralo_server.store.database import Database
from ralo_server.store.views.overview import Overview, overview
from ralo_server.store.views.step_history import StepHistory

_HISTORIES = 16
_Stamp = tuple[int, ...]


class SiblingRuns:
    """The run directories in the parent of `root`, which is one of them."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[_Stamp, Overview]] = {}
        self._histories: OrderedDict[tuple[str | int, ...], StepHistory] = OrderedDict()

    def listed(self) -> list[SiblingRun]:
        """Return every run as ``/runs`` shows it, by name."""
        with self._lock:
            names = sorted(self._names())
            self._seen = {name: self._seen[name] for name in names if name in self._seen}
            return [entry for entry in map(self._entry, names) if entry is not None]

    def history(self, name: str) -> StepHistory | None:
        """Return the steps of a run by the name of its folder, None if there is no such run."""
        with self._lock:
            if name not in self._names():
                return None
            directory = RunDirectory(self._root.parent / name)
            # A folder that was removed and made anew is another run, with a config of its own.
            key: tuple[str | int, ...] = (name, *_stamp(directory.config_file))
            history = self._histories.pop(key, None) or StepHistory(_Reader(directory.state))
            self._histories[key] = history
            if len(self._histories) > _HISTORIES:
                self._histories.popitem(last=False)
            return history

    def _names(self) -> set[str]:
        try:
            found = os.listdir(self._root.parent)
        except PermissionError:
            found = [self._root.name]  # where others must not look about there is this run alone
        directories = [RunDirectory(self._root.parent / name) for name in found]
        return {
            directory.root.name
            for directory in directories
            if os.path.isfile(directory.config_file) and os.path.isfile(directory.state)
        }

    def _entry(self, name: str) -> SiblingRun | None:
        directory = RunDirectory(self._root.parent / name)
        try:
            found, running = self._overview(name, directory.state), is_running(directory)
        except OSError:
            return None  # removed a moment ago, or not ours to read
        return SiblingRun(
            name=name,
            path=str(directory.root),
            recipe=found.recipe,
            state=shown_state(found, running),
            step=found.step,
            version=found.version,
            reward=found.reward,
            accuracy=found.accuracy,
            current=directory.root == self._root,
        )

    def _overview(self, name: str, path: Path) -> Overview:
        """Read a run again only when something was written to it."""
        stamp = (*_stamp(path), *_stamp(path.with_name(f"{path.name}-wal")))
        known = self._seen.get(name)
        if known is None or known[0] != stamp:
            known = self._seen[name] = (stamp, overview(path))
        return known[1]


@attrs.frozen
class _Reader:
    """Asks a database that is opened for the question alone: a sibling costs no open file."""

    path: Path

    def __call__(self, sql: str, *values: Any) -> list[Any]:
        with closing(Database(self.path, read_only=True)) as database:
            return database.rows(sql, *values)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except FileNotFoundError:
        return ()
    return (status.st_ino, status.st_size, status.st_mtime_ns)

"""The table of rollbacks, and the transaction of one: the run goes on from a version that is kept.

Numbers never go back: the old content becomes a new version, and the versions between are
abandoned. What was made by them is discarded, here and, by `abandoned`, whenever it is handed in
later. `ralo_server.rollback` makes the files and calls `commit` while no orchestrator runs.
"""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ralo_core import wire
from ralo_core.data import WeightVersion
from ralo_server.store import gradients, leases, trees
from ralo_server.store.database import Database
from ralo_server.store.evaluation.evaluations import Evaluations, give_up
from ralo_server.store.gradients import Gradients
from ralo_server.store.lease_terms import WhichLeases
from ralo_server.store.lifecycle import in_states
from ralo_server.store.states import TreeState
from ralo_server.store.trees import Trees
from ralo_server.store.values import get_value
from ralo_server.store.weights.versions import Origin, Versions

_QUEUED = f"SELECT lease_id, blob FROM trees WHERE {in_states(TreeState.QUEUED)}"  # noqa: S608


@attrs.frozen(kw_only=True)
class Discarded:
    """Blobs that nothing points at any more, the caller removes them."""

    gradients: tuple[Path, ...]
    trees: tuple[Path, ...]


@attrs.frozen(kw_only=True)
class Rollbacks:
    """Rollbacks of a run."""

    database: Database
    versions: Versions
    evaluations: Evaluations
    trees: Trees
    gradients: Gradients

    def commit(
        self, version: WeightVersion, target: int, origin: Origin, benchmarks: Sequence[str]
    ) -> Discarded:
        """Publish `version`, whose content and `origin` are those of `target`.

        Every lease ends, so that what workers hand in late is refused. Pending gradients at
        abandoned versions are discarded and their trees wait for a trainer again; trees with a
        segment by an abandoned version are discarded and their problems wait again. What is open
        of their evaluations is given up; `benchmarks` are asked of `version`.
        """
        with self.database.write() as connection:
            leases.take_back(connection, WhichLeases.all())
            lost_gradients = self._discard_gradients(connection, target)
            lost_trees = self._discard_trees(connection, target)
            step = int(self.database.value("SELECT MAX(step) FROM steps") or 0)
            self.versions.add(connection, version, step, origin)
            give_up(connection, range(target + 1, version.number))
            self.evaluations.schedule(connection, version.number, benchmarks)
            metrics = {
                "version": version.number,
                "rollback_to": target,
                "time": time.time(),
                "elapsed_seconds": get_value(self.database, "elapsed", 0.0),
            }
            self._record(connection, step, metrics)
        return Discarded(gradients=lost_gradients, trees=lost_trees)

    def _discard_gradients(self, connection: sqlite3.Connection, target: int) -> tuple[Path, ...]:
        discarded = [
            gradient for gradient in self.gradients.pending() if gradient.info.base_version > target
        ]
        for gradient in discarded:
            gradients.discard(connection, gradient.info.upload_id)
        return tuple(gradient.path for gradient in discarded)

    def _discard_trees(self, connection: sqlite3.Connection, target: int) -> tuple[Path, ...]:
        blobs = []
        for row in connection.execute(_QUEUED):
            path = self.trees.folder / row["blob"]
            if int(wire.unpack_tree(path.read_bytes()).versions.max()) > target:
                blobs.append((row["lease_id"], path))
        for lease_id, _ in blobs:
            trees.discard(connection, lease_id)
        return tuple(path for _, path in blobs)

    def _record(
        self, connection: sqlite3.Connection, step: int, metrics: Mapping[str, Any]
    ) -> None:
        connection.execute(
            "INSERT INTO rollbacks (version, target, step, metrics) VALUES (?, ?, ?, ?)",
            (metrics["version"], metrics["rollback_to"], step, json.dumps(metrics)),
        )


def untracked(connection: sqlite3.Connection) -> list[tuple[int, dict[str, float]]]:
    """Return (step, metrics) of the rollbacks that trackers have not been told of, and mark them as
    told."""
    rows = connection.execute(
        "SELECT step, metrics FROM rollbacks WHERE tracked = 0 ORDER BY version"
    ).fetchall()
    connection.execute("UPDATE rollbacks SET tracked = 1 WHERE tracked = 0")
    return [(int(row["step"]), json.loads(row["metrics"])) for row in rows]


def any_untracked(database: Database) -> bool:
    """Say whether `untracked` would return anything."""
    return bool(database.value("SELECT 1 FROM rollbacks WHERE tracked = 0"))

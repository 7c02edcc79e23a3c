"""Going back to a version that is kept: one transaction, after which the run goes on from there.

Neighbours: `ralo_server.rollback` makes the files and calls `commit` while no orchestrator
runs. Numbers never go back: the old content becomes a new version, and the versions between
are abandoned. What was made by them is discarded, here and, by `versions.abandoned`, at the
door.
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
from ralo_server.store.database import Database
from ralo_server.store.evaluation.evaluations import Evaluations, give_up
from ralo_server.store.gradients import Gradients
from ralo_server.store.leases import Leases
from ralo_server.store.requeue import discard_gradient, discard_tree
from ralo_server.store.trees import Trees
from ralo_server.store.values import get_value
from ralo_server.store.weights.versions import Origin, Versions


@attrs.frozen(kw_only=True)
class Discarded:
    """Blobs that nothing points at any more, the caller removes them."""

    gradients: tuple[Path, ...]
    trees: tuple[Path, ...]


@attrs.frozen(kw_only=True)
class Rollbacks:
    """Rollbacks of a run."""

    database: Database
    leases: Leases
    versions: Versions
    evaluations: Evaluations
    trees: Trees
    gradients: Gradients

    def commit(
        self, version: WeightVersion, target: int, origin: Origin, benchmarks: Sequence[str]
    ) -> Discarded:
        """Publish `version`, whose content and `origin` are those of `target`.

        Every lease ends, so that late answers of workers are refused. Pending gradients at
        abandoned versions are discarded and their trees wait for a trainer again; trees with a
        segment by an abandoned version are discarded and their problems wait again. What is open
        of their evaluations is given up; `benchmarks` are asked of `version`.
        """
        with self.database.write() as connection:
            self.leases.end_all(connection)
            gradients = self._discard_gradients(connection, target)
            trees = self._discard_trees(connection, target)
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
            self._note(connection, step, metrics)
        return Discarded(gradients=gradients, trees=trees)

    def _discard_gradients(self, connection: sqlite3.Connection, target: int) -> tuple[Path, ...]:
        discarded = [
            gradient
            for gradient in self.gradients.pending()
            if gradient.facts.base_version > target
        ]
        for gradient in discarded:
            discard_gradient(connection, gradient.facts.upload_id)
        return tuple(gradient.path for gradient in discarded)

    def _discard_trees(self, connection: sqlite3.Connection, target: int) -> tuple[Path, ...]:
        blobs = []
        for row in connection.execute("SELECT lease_id, blob FROM trees WHERE state = 'queued'"):
            path = self.trees.folder / row["blob"]
            if int(wire.unpack_tree(path.read_bytes()).versions.max()) > target:
                blobs.append((row["lease_id"], path))
        for lease_id, _ in blobs:
            discard_tree(connection, lease_id)
        return tuple(path for _, path in blobs)

    def _note(self, connection: sqlite3.Connection, step: int, facts: Mapping[str, Any]) -> None:
        connection.execute(
            "INSERT INTO rollbacks (version, target, step, metrics) VALUES (?, ?, ?, ?)",
            (facts["version"], facts["rollback_to"], step, json.dumps(facts)),
        )

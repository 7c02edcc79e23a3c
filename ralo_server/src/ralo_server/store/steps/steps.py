"""Optimizer steps: what was consumed, the metrics of it, and the one transaction that commits.

Neighbours: the learner takes the trees' facts for its metrics and commits. `records` puts what was
committed into line for the trackers; `tracked` remembers which, so that a crash loses no line.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ralo_core.data import WeightVersion
from ralo_server.store.database import Database
from ralo_server.store.evaluation.evaluations import Evaluations
from ralo_server.store.gradients import PendingGradient
from ralo_server.store.steps.step_log import StepLog, log_step, logged_blobs
from ralo_server.store.trees import SKIPPED
from ralo_server.store.values import count
from ralo_server.store.weights.versions import Versions


@attrs.frozen
class Steps:
    """Steps of a run; the blobs of gradients lie in `gradients`."""

    database: Database
    versions: Versions
    evaluations: Evaluations
    gradients: Path

    def trees_of(self, batch_id: str) -> list[tuple[int, dict[str, Any]]]:
        """Return (oldest version, facts) of every tree of a batch."""
        rows = self.database.rows(
            "SELECT oldest_version, facts FROM trees WHERE batch_id = ?", batch_id
        )
        return [(int(row["oldest_version"]), json.loads(row["facts"])) for row in rows]

    def empty_batches(self) -> list[str]:
        """Return batches without a gradient that no step has counted yet."""
        rows = self.database.rows("SELECT id FROM batches WHERE step IS NULL AND state = 'empty'")
        return [row["id"] for row in rows]

    def skipped_trees(self) -> dict[int, tuple[int, dict[str, Any]]]:
        """Return (oldest version, facts) by number of the trees that were skipped and that no
        step has counted yet."""
        rows = self.database.rows(
            "SELECT number, oldest_version, facts FROM trees WHERE state = ?", SKIPPED
        )
        return {row["number"]: (row["oldest_version"], json.loads(row["facts"])) for row in rows}

    def left_out_batches(self) -> list[str]:
        """Return batches whose gradient was left out without a step, and no step has counted."""
        rows = self.database.rows(
            """SELECT g.batch_id FROM gradients g JOIN batches b ON b.id = g.batch_id
               WHERE g.state = 'left_out' AND b.step IS NULL"""
        )
        return [row["batch_id"] for row in rows]

    def leave_out(self, gradients: Sequence[PendingGradient]) -> None:
        """Consume gradients without a step; the next step counts their batches."""
        with self.database.write() as connection:
            _leave_out(connection, gradients)

    def consumed_blobs(self) -> list[str]:
        """Return the blobs of gradients that nobody will read again, as far as they are there."""
        there = [path.name for path in self.gradients.glob("*.safetensors")]
        marks = ",".join("?" * len(there))
        rows = self.database.rows(
            f"""SELECT blob FROM gradients WHERE state NOT IN ('receiving', 'pending')
                AND blob IN ({marks})""",  # noqa: S608
            *there,
        )
        logged = logged_blobs(self.database)
        return [row["blob"] for row in rows if row["blob"] not in logged]

    def commit(
        self,
        redo: StepLog,
        version: WeightVersion,
        applied: Sequence[PendingGradient],
        left_out: Sequence[PendingGradient],
        other_batches: Sequence[str],
        skipped: Iterable[int],
        metrics: Mapping[str, float],
        benchmarks: Sequence[str],
    ) -> None:
        """Make a step durable: its version, what it did and the consumed gradients together.

        The terms of `redo` are the gradients `applied`; `other_batches` are those without a
        gradient in this step that it counts, `skipped` are skipped trees likewise, by number.
        `benchmarks` are to be asked of the version.
        """
        batches = [*(gradient.batch_id for gradient in (*applied, *left_out)), *other_batches]
        with self.database.write() as connection:
            origin = self.versions.newest_origin().after(redo.step)
            self.versions.add(connection, version, redo.step, origin)
            connection.execute(
                "INSERT INTO steps (step, metrics) VALUES (?, ?)", (redo.step, json.dumps(metrics))
            )
            log_step(connection, redo)
            _leave_out(connection, left_out)
            connection.executemany(
                "UPDATE batches SET step = ? WHERE id = ?",
                [(redo.step, batch) for batch in batches],
            )
            connection.executemany(
                "DELETE FROM trees WHERE number = ?", [(number,) for number in skipped]
            )
            count(connection, "tokens_trained", int(metrics["tokens"]))
            count(connection, "rollouts_trained", int(metrics["rollouts"]))
            self.evaluations.schedule(connection, version.number, benchmarks)

    def commit_restored(self, version: WeightVersion) -> None:
        """Publish the state of the newest version as it was restored, where it came out
        differently."""
        with self.database.write() as connection:
            step = int(self.database.value("SELECT MAX(step) FROM steps"))
            self.versions.add(connection, version, step, self.versions.newest_origin())

    def commit_first(self, version: WeightVersion, benchmarks: Sequence[str]) -> None:
        """Publish the model that a run begins with, to be asked `benchmarks`."""
        with self.database.write() as connection:
            self.versions.add(connection, version, 0)
            self.evaluations.schedule(connection, version.number, benchmarks)

    def last_elapsed(self) -> float:
        """Return the seconds of work at the newest step, 0 before the first."""
        elapsed = self.database.value(
            """SELECT json_extract(metrics, '$.elapsed_seconds') FROM steps
               ORDER BY step DESC LIMIT 1"""
        )
        return float(elapsed or 0.0)

    def after(self, step: int, most: int) -> list[tuple[int, dict[str, float]]]:
        """Return (step, metrics) of the newest `most` steps after `step`, oldest first."""
        rows = self.database.rows(
            "SELECT step, metrics FROM steps WHERE step > ? ORDER BY step DESC LIMIT ?", step, most
        )
        return [(int(row["step"]), json.loads(row["metrics"])) for row in reversed(rows)]


def _leave_out(connection: sqlite3.Connection, gradients: Sequence[PendingGradient]) -> None:
    connection.executemany(
        "UPDATE gradients SET state = 'left_out' WHERE upload_id = ?",
        [(gradient.facts.upload_id,) for gradient in gradients],
    )

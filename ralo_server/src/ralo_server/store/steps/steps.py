"""The table of optimizer steps, and the one transaction that commits a step.

A step's row, its version, the gradients and trees that it consumed and the evaluations that it asks
for are committed together, so a crash leaves all of it or nothing.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import attrs

from ralo_core.data import WeightVersion
from ralo_server.store import batches, gradients, trees
from ralo_server.store.database import Database
from ralo_server.store.evaluation.evaluations import Evaluations
from ralo_server.store.gradients import PendingGradient
from ralo_server.store.steps.step_log import StepLog
from ralo_server.store.values import count
from ralo_server.store.weights.versions import Versions


@attrs.frozen
class Steps:
    """Steps of a run."""

    database: Database
    versions: Versions
    evaluations: Evaluations

    def commit(
        self,
        step_log: StepLog,
        version: WeightVersion,
        applied: Sequence[PendingGradient],
        left_out: Sequence[PendingGradient],
        other_batches: Sequence[str],
        skipped: Iterable[int],
        metrics: Mapping[str, float],
        benchmarks: Sequence[str],
    ) -> None:
        """Make a step durable: its version, what it did and the consumed gradients together.

        The weighted gradients of `step_log` are those in `applied`. The step also counts
        `other_batches`, which have no gradient in it, and the trees `skipped`, by number.
        `benchmarks` are to be asked of the version.
        """
        counted = [*(gradient.batch_id for gradient in (*applied, *left_out)), *other_batches]
        with self.database.write() as connection:
            origin = self.versions.newest_origin().after(step_log.step)
            self.versions.add(connection, version, step_log.step, origin)
            connection.execute(
                "INSERT INTO steps (step, metrics, learning_rate, clip) VALUES (?, ?, ?, ?)",
                (step_log.step, json.dumps(metrics), step_log.learning_rate, step_log.clip),
            )
            gradients.apply(connection, step_log.step, step_log.weighted_gradients)
            gradients.leave_out(connection, left_out)
            batches.count_in_step(connection, step_log.step, counted)
            trees.remove_skipped(connection, skipped)
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


def untracked(connection: sqlite3.Connection) -> list[int]:
    """Return the steps that trackers have not been told of, and mark them as told."""
    rows = connection.execute("SELECT step FROM steps WHERE tracked = 0 ORDER BY step").fetchall()
    connection.execute("UPDATE steps SET tracked = 1 WHERE tracked = 0")
    return [int(row["step"]) for row in rows]


def any_untracked(database: Database) -> bool:
    """Say whether `untracked` would return anything."""
    return bool(database.value("SELECT 1 FROM steps WHERE tracked = 0"))

"""Evaluation jobs: one per version that is to be measured, leased like all work.

Neighbours: the learner schedules, samplers claim and report through the web side. All jobs
ask the same held-out problems, which were drawn when the run was made.
"""

import sqlite3
import time
from typing import Any

import attrs

from ralo_server.store.database import Database
from ralo_server.store.facts import get_fact
from ralo_server.store.leases import Leases

STORED, DUPLICATE, LOST = "stored", "duplicate", "lost"


@attrs.frozen
class Evaluations:
    """Evaluations of a run."""

    database: Database
    leases: Leases

    def held_out(self) -> list[dict[str, Any]]:
        """Return the held-out problems as JSON; empty if the run does not evaluate."""
        problems: list[dict[str, Any]] = get_fact(self.database, "held_out", [])
        return problems

    def schedule(self, connection: sqlite3.Connection, version: int) -> None:
        """Ask for an evaluation of `version` unless there is one."""
        connection.execute(
            "INSERT OR IGNORE INTO evaluations (id, version, state) VALUES (?, ?, 'waiting')",
            (f"eval-{version}", version),
        )

    def claim(self, worker_id: str) -> tuple[str, int] | None:
        """Lease the oldest waiting job; return its id and version, or None."""
        if not self.database.value("SELECT 1 FROM evaluations WHERE state = 'waiting'"):
            return None
        with self.database.write() as connection:
            row = connection.execute(
                "SELECT id, version FROM evaluations WHERE state = 'waiting' ORDER BY version"
            ).fetchone()
            if row is None:
                return None
            connection.execute(
                """UPDATE evaluations SET state = 'leased', worker_id = ?, expires = ?
                   WHERE id = ?""",
                (worker_id, self.leases.deadline(), row["id"]),
            )
        return row["id"], int(row["version"])

    def report(self, job_id: str, correct: list[bool]) -> str:
        """Store a result; return `STORED`, `DUPLICATE`, or `LOST` for a job that is not leased."""
        with self.database.write() as connection:
            row = connection.execute(
                "SELECT state, version FROM evaluations WHERE id = ?", (job_id,)
            ).fetchone()
            if row is None or row["state"] == "waiting":
                return LOST
            if row["state"] == "reported":
                return DUPLICATE
            connection.execute(
                """UPDATE evaluations SET state = 'reported',
                   report = json_object('version', version, 'accuracy', ?, 'count', ?, 'time', ?)
                   WHERE id = ?""",
                (sum(correct) / len(correct), len(correct), time.time(), job_id),
            )
        return STORED

    def open(self) -> int:
        """Return how many jobs are not reported yet."""
        return int(
            self.database.value("SELECT COUNT(*) FROM evaluations WHERE state != 'reported'")
        )

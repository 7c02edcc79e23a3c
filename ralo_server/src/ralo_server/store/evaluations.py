"""Evaluation jobs: one per version that is to be measured, leased like all work.

Neighbours: the learner schedules, samplers claim and report through the web side. All jobs
ask the same held-out problems, which were drawn when the run was made. Every grant has a lease
id of its own; the first report under the lease that holds is the result.
"""

import sqlite3
import time
import uuid
from typing import Any

import attrs

from ralo_server.store.database import Database
from ralo_server.store.facts import get_fact
from ralo_server.store.leases import Leases

STORED, DUPLICATE, LOST = "stored", "duplicate", "lost"

_WAITING = "SELECT id, version FROM evaluations WHERE state = 'waiting' ORDER BY version LIMIT 1"
_GRANTED = """SELECT id, version, lease_id FROM evaluations
    WHERE request = ? AND worker_id = ? AND state = 'leased'"""
_LEASE = """UPDATE evaluations SET state = 'leased', lease_id = ?, worker_id = ?, expires = ?,
    request = ? WHERE id = ?"""


@attrs.frozen(kw_only=True)
class Job:
    """One grant of an evaluation: which version is to be measured, under which lease."""

    id: str
    version: int
    lease_id: str


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

    def claim(self, worker_id: str, request: str | None = None) -> Job | None:
        """Lease the oldest waiting job, or None.

        A `request` that was granted before gets the same job again: its answer was lost.
        """
        if not self.database.value("SELECT 1 FROM evaluations WHERE state != 'reported'"):
            return None
        with self.database.write() as connection:
            row = connection.execute(_GRANTED, (request, worker_id)).fetchone()
            if row is not None:
                return Job(**row)
            row = connection.execute(_WAITING).fetchone()
            if row is None:
                return None
            job = Job(id=row["id"], version=row["version"], lease_id=uuid.uuid4().hex)
            connection.execute(
                _LEASE, (job.lease_id, worker_id, self.leases.deadline(), request, job.id)
            )
        return job

    def report(self, job_id: str, lease_id: str, correct: list[bool]) -> str:
        """Store a result; return `STORED`, `DUPLICATE` for a job that has one, or `LOST` where
        the lease is not the one that holds."""
        with self.database.write() as connection:
            row = connection.execute(
                "SELECT state, lease_id FROM evaluations WHERE id = ?", (job_id,)
            ).fetchone()
            if row is not None and row["state"] == "reported":
                return DUPLICATE
            if row is None or row["state"] != "leased" or row["lease_id"] != lease_id:
                return LOST
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

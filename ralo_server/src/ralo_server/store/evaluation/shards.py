"""Shards: the parts of an evaluation that samplers lease, answer and report, each by itself.

Neighbours: `evaluations` makes them, `leases` ends their leases. Every grant has a lease id of its
own; the first report under the lease that holds counts. The report of the last shard closes the
evaluation: what comes of all answers is computed before that transaction, for it takes a while,
and committed in it.
"""

import json
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from ralo_core.data import ItemResponses, Problem, ResponseSettings
from ralo_core.structuring import structure, unstructure
from ralo_server.store.database import Database
from ralo_server.store.evaluation.benchmarks import Benchmarks, Plan
from ralo_server.store.leases import Leases
from ralo_server.store.values import count, total

STORED, DUPLICATE, LOST = "stored", "duplicate", "lost"

_SHARD = """SELECT s.*, e.version, e.benchmark, e.plan FROM evaluation_shards s
    JOIN evaluations e ON e.id = s.evaluation"""
_GRANTED = f"{_SHARD} WHERE s.request = ? AND s.worker_id = ? AND s.state = 'leased'"
_WAITING = f"""{_SHARD} WHERE s.state = 'waiting' AND (? IS NULL OR e.version = ?)
    ORDER BY e.version, s.number LIMIT 1"""
_LEASE = """UPDATE evaluation_shards SET state = 'leased', lease_id = ?, worker_id = ?,
    expires = ?, request = ? WHERE id = ?"""
_REPORTED = "evaluation_shards_reported"


@attrs.frozen(kw_only=True)
class Job:
    """One grant of a shard: which items, how, by which version, under which lease."""

    id: str
    lease_id: str
    version: int
    benchmark: str
    answering: ResponseSettings
    items: list[Problem]


@attrs.frozen(kw_only=True)
class Answered:
    """An evaluation whose answers are all there, in the order of the items. `started` is the unix
    time of the first grant."""

    version: int
    step: int
    benchmark: str
    plan: Plan
    started: float
    items: list[Problem]
    answers: list[ItemResponses]


@attrs.frozen(kw_only=True)
class Conclusion:
    """What comes of an evaluation: `result`, the row that everybody sees, and `keep`, which makes
    the answers durable in a file and is called inside the transaction."""

    result: dict[str, Any]
    keep: Callable[[], None]


@attrs.frozen
class Shards:
    """Shards of the evaluations of a run."""

    database: Database
    leases: Leases
    benchmarks: Benchmarks

    def claim(
        self, worker_id: str, request: str | None = None, version: int | None = None
    ) -> Job | None:
        """Lease the next shard, of the oldest version or of `version`, or None.

        A `request` that was granted before gets the same shard again: its answer was lost.
        """
        if not self.database.value(
            "SELECT 1 FROM evaluation_shards WHERE state IN ('waiting', 'leased')"
        ):
            return None
        with self.database.write() as connection:
            row = connection.execute(_GRANTED, (request, worker_id)).fetchone()
            lease = row["lease_id"] if row else uuid.uuid4().hex
            if row is None:
                row = connection.execute(_WAITING, (version, version)).fetchone()
                if row is None:
                    return None
                values = (lease, worker_id, self.leases.deadline(), request, row["id"])
                connection.execute(_LEASE, values)
                connection.execute(
                    "UPDATE evaluations SET started = COALESCE(started, ?) WHERE id = ?",
                    (self.leases.clock(), row["evaluation"]),
                )
        return Job(
            id=row["id"],
            lease_id=lease,
            version=row["version"],
            benchmark=row["benchmark"],
            answering=Plan.load(row["plan"]).answering,
            items=self.benchmarks.items(row["benchmark"], row["first"], row["items"]),
        )

    def size(self, shard_id: str) -> tuple[int, int] | None:
        """Return how many items a shard has and how many answers each, None for no shard."""
        rows = self.database.rows(f"{_SHARD} WHERE s.id = ?", shard_id)
        return (rows[0]["items"], Plan.load(rows[0]["plan"]).answering.samples) if rows else None

    def report(
        self,
        shard_id: str,
        lease_id: str,
        answers: Sequence[ItemResponses],
        conclude: Callable[[Answered], Conclusion],
    ) -> tuple[str, dict[str, Any] | None]:
        """Store the answers of a shard; return `STORED`, `DUPLICATE` for one that has some, or
        `LOST` where the lease is not the one that holds. Beside it stands the result of the
        evaluation, where this was its last shard: what `conclude` makes of it is stored, too.
        """
        conclusion: Conclusion | None = None
        while True:
            with self.database.write() as connection:
                row = connection.execute(f"{_SHARD} WHERE s.id = ?", (shard_id,)).fetchone()
                outcome = _outcome(row, lease_id)
                if outcome != STORED:
                    return outcome, None
                last = not _others_open(connection, row)
                if not last or conclusion:
                    _store(connection, row, answers)
                if not last:
                    return STORED, None
                if conclusion:
                    _close(connection, row["evaluation"], conclusion)
                    return STORED, conclusion.result
            # Of an evaluation whose other shards are all in nothing changes any more.
            conclusion = conclude(self._answered(row, answers))

    def counts(self) -> dict[str, int]:
        """Return how many shards are waiting, leased and, since the run began, reported."""
        open_ones = {
            state: int(
                self.database.value("SELECT COUNT(*) FROM evaluation_shards WHERE state = ?", state)
            )
            for state in ("waiting", "leased")
        }
        return {**open_ones, "reported": total(self.database, _REPORTED)}

    def _answered(self, row: sqlite3.Row, answers: Sequence[ItemResponses]) -> Answered:
        gathered: list[ItemResponses] = []
        for other in self.database.rows(
            "SELECT id, answers FROM evaluation_shards WHERE evaluation = ? ORDER BY first",
            row["evaluation"],
        ):
            gathered += answers if other["id"] == row["id"] else _load(other["answers"])
        version, benchmark = row["version"], row["benchmark"]
        step = self.database.value("SELECT step FROM versions WHERE number = ?", version)
        started = self.database.value(
            "SELECT started FROM evaluations WHERE id = ?", row["evaluation"]
        )
        return Answered(
            version=version,
            step=int(step),
            benchmark=benchmark,
            plan=Plan.load(row["plan"]),
            started=float(started),
            items=self.benchmarks.items(benchmark, count=len(gathered)),
            answers=gathered,
        )


def _outcome(row: sqlite3.Row | None, lease_id: str) -> str:
    if row is not None and row["state"] == "reported":
        return DUPLICATE
    holds = row is not None and row["state"] == "leased" and row["lease_id"] == lease_id
    return STORED if holds else LOST


def _others_open(connection: sqlite3.Connection, row: sqlite3.Row) -> int:
    return int(
        connection.execute(
            """SELECT COUNT(*) FROM evaluation_shards
               WHERE evaluation = ? AND state != 'reported' AND id != ?""",
            (row["evaluation"], row["id"]),
        ).fetchone()[0]
    )


def _store(
    connection: sqlite3.Connection, row: sqlite3.Row, answers: Sequence[ItemResponses]
) -> None:
    connection.execute(
        "UPDATE evaluation_shards SET state = 'reported', answers = ? WHERE id = ?",
        (json.dumps(unstructure(list(answers))), row["id"]),
    )
    count(connection, _REPORTED)


def _close(connection: sqlite3.Connection, evaluation: str, conclusion: Conclusion) -> None:
    conclusion.keep()
    connection.execute(
        "UPDATE evaluations SET state = 'reported', report = ? WHERE id = ?",
        (json.dumps(conclusion.result, ensure_ascii=False), evaluation),
    )
    # From now on the file has them.
    connection.execute(
        "UPDATE evaluation_shards SET answers = NULL WHERE evaluation = ?", (evaluation,)
    )


def _load(text: str) -> list[ItemResponses]:
    return list(structure(json.loads(text), tuple[ItemResponses, ...]))

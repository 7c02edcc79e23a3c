"""Shards of evaluations as samplers see them: claimed under a lease, and reported.

Every grant has a lease id of its own; the first report under the lease that holds counts. The
report of the last shard closes the evaluation: its result is computed before that transaction, for
that takes a while, and committed in it.
"""

import sqlite3
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from ralo_core.data import ItemResponses, Problem, ResponseSettings
from ralo_server.store.database import Database
from ralo_server.store.evaluation import evaluations, shard_rows
from ralo_server.store.evaluation.benchmarks import Benchmarks, Plan
from ralo_server.store.lease_terms import LeaseTerms
from ralo_server.store.lifecycle import in_states, not_in_states
from ralo_server.store.states import SHARDS, ShardState
from ralo_server.store.values import total

STORED, DUPLICATE, LOST = "stored", "duplicate", "lost"

_SHARD = """SELECT s.*, e.version, e.benchmark, e.plan FROM evaluation_shards s
    JOIN evaluations e ON e.id = s.evaluation"""
_GRANTED = f"""{_SHARD} WHERE s.request = ? AND s.worker_id = ?
    AND {in_states(ShardState.LEASED, column="s.state")}"""
_WAITING = f"""{_SHARD} WHERE {in_states(ShardState.WAITING, column="s.state")}
    AND (? IS NULL OR e.version = ?) ORDER BY e.version, s.number LIMIT 1"""
_OTHERS_OPEN = f"""SELECT COUNT(*) FROM evaluation_shards
    WHERE evaluation = ? AND {not_in_states(ShardState.REPORTED)} AND id != ?"""  # noqa: S608


@attrs.frozen(kw_only=True)
class Job:
    """One grant of a shard: which items, how, by which version, under which lease."""

    id: str
    lease_id: str
    version: int
    benchmark: str
    response_settings: ResponseSettings
    items: list[Problem]


@attrs.frozen(kw_only=True)
class CompletedEvaluation:
    """An evaluation whose responses are all there, in the order of the items. `started` is the unix
    time of the first grant."""

    version: int
    step: int
    benchmark: str
    plan: Plan
    started: float
    items: list[Problem]
    responses: list[ItemResponses]


@attrs.frozen(kw_only=True)
class Conclusion:
    """What comes of an evaluation: `result`, the row that everybody sees, and `keep`, which makes
    the responses durable in a file and is called inside the transaction."""

    result: dict[str, Any]
    keep: Callable[[], None]


@attrs.frozen
class Shards:
    """Shards of the evaluations of a run."""

    database: Database
    leases: LeaseTerms
    benchmarks: Benchmarks

    def claim(
        self, worker_id: str, request: str | None = None, version: int | None = None
    ) -> Job | None:
        """Lease the next shard, of the oldest version or of `version`, or None.

        A `request` that was granted before gets the same shard again: the reply was lost.
        """
        if not SHARDS.count(self.database, ShardState.WAITING, ShardState.LEASED):
            return None
        with self.database.write() as connection:
            row = connection.execute(_GRANTED, (request, worker_id)).fetchone()
            lease = row["lease_id"] if row else uuid.uuid4().hex
            if row is None:
                row = connection.execute(_WAITING, (version, version)).fetchone()
                if row is None:
                    return None
                expires = self.leases.deadline()
                shard_rows.lease(connection, row["id"], lease, worker_id, expires, request)
                evaluations.start(connection, row["evaluation"], self.leases.clock())
        return Job(
            id=row["id"],
            lease_id=lease,
            version=row["version"],
            benchmark=row["benchmark"],
            response_settings=Plan.load(row["plan"]).response_settings,
            items=self.benchmarks.items(row["benchmark"], row["first"], row["items"]),
        )

    def size(self, shard_id: str) -> tuple[int, int] | None:
        """Return how many items a shard has and how many responses each, None for no shard."""
        rows = self.database.rows(f"{_SHARD} WHERE s.id = ?", shard_id)
        if not rows:
            return None
        return rows[0]["items"], Plan.load(rows[0]["plan"]).settings.samples

    def report(
        self,
        shard_id: str,
        lease_id: str,
        responses: Sequence[ItemResponses],
        conclude: Callable[[CompletedEvaluation], Conclusion],
    ) -> tuple[str, dict[str, Any] | None]:
        """Store the responses of a shard; return `STORED`, `DUPLICATE` for one that has some, or
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
                    shard_rows.report(connection, row["id"], responses)
                if not last:
                    return STORED, None
                if conclusion:
                    conclusion.keep()
                    evaluations.close(connection, row["evaluation"], conclusion.result)
                    return STORED, conclusion.result
            # Of an evaluation whose other shards are all in nothing changes any more.
            conclusion = conclude(self._completed(row, responses))

    def counts(self) -> dict[str, int]:
        """Return how many shards are waiting, leased and, since the run began, reported."""
        return {
            "waiting": SHARDS.count(self.database, ShardState.WAITING),
            "leased": SHARDS.count(self.database, ShardState.LEASED),
            "reported": total(self.database, shard_rows.REPORTED_TOTAL),
        }

    def _completed(
        self, row: sqlite3.Row, responses: Sequence[ItemResponses]
    ) -> CompletedEvaluation:
        gathered: list[ItemResponses] = []
        for other in self.database.rows(
            "SELECT id, responses FROM evaluation_shards WHERE evaluation = ? ORDER BY first",
            row["evaluation"],
        ):
            last = other["id"] == row["id"]
            gathered += responses if last else shard_rows.load_responses(other["responses"])
        version, benchmark = row["version"], row["benchmark"]
        step = self.database.value("SELECT step FROM versions WHERE number = ?", version)
        started = self.database.value(
            "SELECT started FROM evaluations WHERE id = ?", row["evaluation"]
        )
        return CompletedEvaluation(
            version=version,
            step=int(step),
            benchmark=benchmark,
            plan=Plan.load(row["plan"]),
            started=float(started),
            items=self.benchmarks.items(benchmark, count=len(gathered)),
            responses=gathered,
        )


def _outcome(row: sqlite3.Row | None, lease_id: str) -> str:
    if row is not None and row["state"] == ShardState.REPORTED:
        return DUPLICATE
    holds = row is not None and row["state"] == ShardState.LEASED and row["lease_id"] == lease_id
    return STORED if holds else LOST


def _others_open(connection: sqlite3.Connection, row: sqlite3.Row) -> int:
    return int(connection.execute(_OTHERS_OPEN, (row["evaluation"], row["id"])).fetchone()[0])

"""The table of problems: drawn from the provider when a sampler asks, leased, done with their tree.

The provider's position is stored in the transaction that stores its problems, so none is skipped
or given twice.
"""

import itertools
import json
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from ralo_core.data import Problem
from ralo_core.protocols import ProblemProvider
from ralo_core.structuring import unstructure
from ralo_server.store.database import Database
from ralo_server.store.lease_terms import LeasedTable, LeaseTerms, WhichLeases
from ralo_server.store.lifecycle import in_states
from ralo_server.store.states import PROBLEMS, TREES, ProblemState, TreeState
from ralo_server.store.values import count, get_value, put_value

MAX_ATTEMPTS = 5
"""A problem whose lease was lost this often is given up as failed."""

LEASES = LeasedTable(PROBLEMS.table, "lease_id", ProblemState.LEASED)

_LEASED = in_states(ProblemState.LEASED)
_GRANTED = f"""SELECT body, lease_id, expires FROM problems
    WHERE request = ? AND worker_id = ? AND {_LEASED} ORDER BY number"""  # noqa: S608
_WAITING = f"""SELECT number, body FROM problems
    WHERE {in_states(ProblemState.WAITING)} ORDER BY number LIMIT ?"""  # noqa: S608


class ProblemSource:
    """The run's provider, in step with the stored position; `make` builds a fresh one."""

    def __init__(self, make: Callable[[], ProblemProvider]) -> None:
        self._make = make
        self._iterator: Iterator[Problem] | None = None
        self._provider: ProblemProvider | None = None
        self._seen: dict[str, Any] = {}
        self._lock = threading.Lock()

    def draw(self, amount: int, stored: dict[str, Any] | None) -> tuple[list[Problem], Any]:
        """Return up to `amount` problems after position `stored`, and the position then."""
        with self._lock:
            if self._provider is None or (stored or {}) != self._seen:
                self._open(stored)
            assert self._provider is not None
            assert self._iterator is not None
            problems = list(itertools.islice(self._iterator, amount))
            self._seen = dict(self._provider.state())
            return problems, self._seen

    def _open(self, stored: dict[str, Any] | None) -> None:
        self._provider = self._make()
        if stored:
            self._provider.restore(stored)
        self._iterator = iter(self._provider)
        self._seen = dict(stored or {})


@attrs.frozen
class Problems:
    """Leases problems while fewer than `capacity` trees are queued or being made."""

    database: Database
    leases: LeaseTerms
    capacity: int

    def room(self) -> int:
        """Return how many problems may be handed out now."""
        queued = TREES.count(self.database, TreeState.QUEUED)
        outstanding = queued + PROBLEMS.count(self.database, ProblemState.LEASED)
        return max(0, self.capacity - outstanding)

    def lease(
        self, worker_id: str, amount: int, source: ProblemSource, request: str | None = None
    ) -> list[tuple[dict[str, Any], str, float]]:
        """Return up to `amount` (problem as JSON, lease id, expiry); none when there is no room
        or no problem left.

        A `request` that was granted before gets the same leases again: its answer was lost.
        """
        if self.room() == 0 and not self._granted(worker_id, request):
            return []
        with self.database.write() as connection:
            if again := self._granted(worker_id, request):
                return again
            amount = min(amount, self.room())
            short = amount - len(connection.execute(_WAITING, (amount,)).fetchall())
            if short > 0:
                self._draw(connection, short, source)
            expires, granted = self.leases.deadline(), []
            for number, body in connection.execute(_WAITING, (amount,)).fetchall():
                lease_id = uuid.uuid4().hex
                PROBLEMS.move(
                    connection,
                    ProblemState.LEASED,
                    "number = :number",
                    sets="""lease_id = :lease, worker_id = :worker, expires = :expires,
                        request = :request, attempts = attempts + 1""",
                    number=number,
                    lease=lease_id,
                    worker=worker_id,
                    expires=expires,
                    request=request,
                )
                granted.append((json.loads(body), lease_id, expires))
        return granted

    def _granted(
        self, worker_id: str, request: str | None
    ) -> list[tuple[dict[str, Any], str, float]]:
        rows = self.database.rows(_GRANTED, request, worker_id)
        return [(json.loads(row["body"]), row["lease_id"], row["expires"]) for row in rows]

    def _draw(self, connection: sqlite3.Connection, amount: int, source: ProblemSource) -> None:
        if get_value(self.database, "exhausted", False):
            return
        problems, position = source.draw(amount, get_value(self.database, "provider"))
        for problem in problems:
            body = json.dumps(unstructure(problem), ensure_ascii=False)
            PROBLEMS.insert(connection, ProblemState.WAITING, id=problem.id, body=body)
        put_value(connection, "provider", position)
        if len(problems) < amount:
            put_value(connection, "exhausted", True)
        count(connection, "problems_issued", len(problems))

    def all_handed_out(self) -> bool:
        """Say whether the provider has no more problems and none waits or is being worked on."""
        exhausted = bool(get_value(self.database, "exhausted", False))
        return exhausted and not PROBLEMS.count(
            self.database, ProblemState.WAITING, ProblemState.LEASED
        )


def lease_state(database: Database, lease_id: str) -> str | None:
    """Return the state of the problem that was granted under this lease, None for no such one."""
    state: str | None = database.value("SELECT state FROM problems WHERE lease_id = ?", lease_id)
    return state


def finish(connection: sqlite3.Connection, lease_id: str) -> None:
    """Mark a problem as done: its tree is stored in the same transaction."""
    PROBLEMS.move(connection, ProblemState.DONE, "lease_id = :lease", lease=lease_id)


def sample_again(connection: sqlite3.Connection, lease_id: str) -> None:
    """Let a problem wait again whose tree was discarded."""
    PROBLEMS.move(
        connection,
        ProblemState.WAITING,
        "lease_id = :lease",
        sets="lease_id = NULL, request = NULL",
        only_from=ProblemState.DONE,
        lease=lease_id,
    )


def fail(connection: sqlite3.Connection, lease_id: str, reason: str) -> bool:
    """Give a leased problem up; say whether the lease still held."""
    failed = PROBLEMS.move(
        connection,
        ProblemState.FAILED,
        "lease_id = :lease",
        sets="reason = :reason",
        lease=lease_id,
        reason=reason,
    )
    return bool(failed)


def take_back(connection: sqlite3.Connection, which: WhichLeases) -> int:
    """End leases: the problems wait again, or fail after too many attempts; return how many."""
    where, values = which.where("lease_id"), which.values
    if not which.fault:
        connection.execute(
            f"UPDATE problems SET attempts = attempts - 1 WHERE {_LEASED} AND {where}",  # noqa: S608
            values,
        )
    failed = PROBLEMS.move(
        connection,
        ProblemState.FAILED,
        f"attempts >= {MAX_ATTEMPTS} AND {where}",
        sets="worker_id = NULL, reason = 'lease lost too often'",
        **values,
    )
    waiting = PROBLEMS.move(
        connection,
        ProblemState.WAITING,
        where,
        sets="worker_id = NULL, reason = ''",
        only_from=ProblemState.LEASED,
        **values,
    )
    return failed + waiting

"""The problem queue: problems are drawn from the provider when a sampler asks, and leased.

Neighbours: the web side leases here, `trees` marks a problem done. The provider's position is
stored in the transaction that stores its problems, so none is skipped or given twice.
"""

import itertools
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from ralo_core.data import Problem
from ralo_core.protocols import ProblemProvider
from ralo_core.structuring import unstructure
from ralo_server.store.database import Database
from ralo_server.store.leases import Leases
from ralo_server.store.values import count, get_value, put_value

_NEW = "INSERT INTO problems (id, body, state) VALUES (?, ?, 'waiting')"
_LEASE = """UPDATE problems SET state = 'leased', lease_id = ?, worker_id = ?, expires = ?,
    request = ?, attempts = attempts + 1 WHERE number = ?"""
_GRANTED = """SELECT body, lease_id, expires FROM problems
    WHERE request = ? AND worker_id = ? AND state = 'leased' ORDER BY number"""
_WAITING = "SELECT number, body FROM problems WHERE state = 'waiting' ORDER BY number LIMIT ?"


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
    leases: Leases
    capacity: int

    def room(self) -> int:
        """Return how many problems may be handed out now."""
        outstanding = self.database.value(
            """SELECT (SELECT COUNT(*) FROM trees WHERE state = 'queued')
                + (SELECT COUNT(*) FROM problems WHERE state = 'leased')"""
        )
        return max(0, self.capacity - int(outstanding))

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
                connection.execute(_LEASE, (lease_id, worker_id, expires, request, number))
                granted.append((json.loads(body), lease_id, expires))
        return granted

    def _granted(
        self, worker_id: str, request: str | None
    ) -> list[tuple[dict[str, Any], str, float]]:
        rows = self.database.rows(_GRANTED, request, worker_id)
        return [(json.loads(row["body"]), row["lease_id"], row["expires"]) for row in rows]

    def _draw(self, connection: Any, amount: int, source: ProblemSource) -> None:
        if get_value(self.database, "exhausted", False):
            return
        problems, position = source.draw(amount, get_value(self.database, "provider"))
        for problem in problems:
            body = json.dumps(unstructure(problem), ensure_ascii=False)
            connection.execute(_NEW, (problem.id, body))
        put_value(connection, "provider", position)
        if len(problems) < amount:
            put_value(connection, "exhausted", True)
        count(connection, "problems_issued", len(problems))

    def all_handed_out(self) -> bool:
        """Say whether the provider has no more problems and none waits or is being worked on."""
        return bool(get_value(self.database, "exhausted", False)) and not self.database.value(
            "SELECT COUNT(*) FROM problems WHERE state IN ('waiting', 'leased')"
        )

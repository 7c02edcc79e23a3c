"""What all leases have in common: how long they live, which of them an operation ends, and the
columns of a table whose rows are leased."""

import sqlite3
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import attrs

from ralo_server.store.database import Database
from ralo_server.store.lifecycle import in_states


@attrs.frozen
class LeaseTerms:
    """A lease lives `seconds` without renewal; `clock` gives the unix time in seconds."""

    seconds: float
    clock: Callable[[], float] = time.time

    def deadline(self) -> float:
        """Return the unix time at which a lease granted now ends."""
        return self.clock() + self.seconds


@attrs.frozen
class WhichLeases:
    """The leases that end together, as an SQL condition with named parameters.

    ``{key}`` in the condition is the column of a table that holds the id of a lease. `fault` says
    whether the worker is to blame: a lost lease counts as an attempt at its problem.
    """

    condition: str
    values: Mapping[str, Any]
    fault: bool

    @classmethod
    def overdue(cls, now: float) -> "WhichLeases":
        """Those that were not renewed in time."""
        return cls("expires < :now", {"now": now}, fault=True)

    @classmethod
    def all(cls) -> "WhichLeases":
        """Every lease that there is."""
        return cls("TRUE", {}, fault=False)

    @classmethod
    def of_worker(cls, worker_id: str) -> "WhichLeases":
        """All leases of one worker, which leaves."""
        return cls("worker_id = :worker", {"worker": worker_id}, fault=False)

    @classmethod
    def one(cls, lease_id: str) -> "WhichLeases":
        """One lease, given back before its time."""
        return cls("{key} = :lease", {"lease": lease_id}, fault=False)

    def where(self, key: str) -> str:
        """Return the condition for a table whose column `key` holds the ids of leases."""
        return self.condition.format(key=key)


@attrs.frozen
class LeasedTable:
    """A table whose rows in state `leased` are leases: `key` is the column of their ids, and
    `worker_id` and `expires` are columns of every such table."""

    table: str
    key: str
    leased: StrEnum

    def owner(self, database: Database, lease_id: str) -> str | None:
        """Return the worker that holds a lease, None if it does not hold or is of another table."""
        owner: str | None = database.value(
            f"SELECT worker_id FROM {self.table} WHERE {self._holds()}",  # noqa: S608
            lease_id,
        )
        return owner

    def extend(
        self, connection: sqlite3.Connection, lease_id: str, worker_id: str, expires: float
    ) -> bool:
        """Let a lease of this worker live until `expires`; False if it has no such lease."""
        extended = connection.execute(
            f"UPDATE {self.table} SET expires = ? WHERE {self._holds()} AND worker_id = ?",  # noqa: S608
            (expires, lease_id, worker_id),
        ).rowcount
        return bool(extended)

    def overdue(self, database: Database, now: float) -> bool:
        """Say whether any lease was not renewed in time."""
        leased = in_states(self.leased)
        query = f"SELECT 1 FROM {self.table} WHERE {leased} AND expires < ?"  # noqa: S608
        return bool(database.value(query, now))

    def _holds(self) -> str:
        return f"{in_states(self.leased)} AND {self.key} = ?"

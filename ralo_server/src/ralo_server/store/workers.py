"""The table of workers: those that announced themselves, and when each was last heard.

A worker is alive while it was heard within a lease's time, then lost, unless it said that it
leaves. Long after either its row is removed: every start of a worker makes a new one. What workers
did is counted where it is handed in, so no total depends on these rows.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ralo_server.store.database import Database
from ralo_server.store.lease_terms import LeaseTerms, WhichLeases
from ralo_server.store.leases import Leases, take_back
from ralo_server.store.lifecycle import in_states, not_in_states
from ralo_server.store.states import WORKERS, WorkerState

FORGET_SECONDS = 3600.0
"""Long enough for whoever looks at the run to see that a worker was lost, or left."""

_ALIVE = in_states(WorkerState.ALIVE)
_SILENT = f"SELECT id, role FROM workers WHERE {_ALIVE} AND seen < ?"  # noqa: S608
_HERE = f"SELECT 1 FROM workers WHERE {_ALIVE} AND seen >= ?"  # noqa: S608
_GONE = f"SELECT id FROM workers WHERE {in_states(*WORKERS.removed)} AND seen < ?"  # noqa: S608
_NOT_LEFT = f"SELECT role FROM workers WHERE id = ? AND {not_in_states(WorkerState.LEFT)}"  # noqa: S608


@attrs.frozen
class LostWorker:
    """A worker that has not been heard for a lease's time."""

    id: str
    role: str


@attrs.frozen
class Workers:
    """Workers of a run."""

    database: Database
    leases: Leases

    @property
    def _terms(self) -> LeaseTerms:
        return self.leases.terms

    def register(self, worker_id: str, role: str, fields: Mapping[str, Any]) -> bool:
        """Store a worker; return whether it is new, or back after it had left."""
        row = {"role": role, "fields": json.dumps(dict(fields)), "seen": self._terms.clock()}
        with self.database.write() as connection:
            was_here = connection.execute(_NOT_LEFT, (worker_id,)).fetchone() is not None
            updated = connection.execute(
                "UPDATE workers SET role = :role, fields = :fields, seen = :seen WHERE id = :id",
                {**row, "id": worker_id},
            ).rowcount
            if updated:
                WORKERS.move(connection, WorkerState.ALIVE, "id = :id", id=worker_id)
            else:
                WORKERS.insert(connection, WorkerState.ALIVE, id=worker_id, **row)
        return not was_here

    def heard(
        self, worker_id: str, fields: Mapping[str, Any], lease_ids: Sequence[str]
    ) -> list[str] | None:
        """Record a heartbeat and renew the leases that the worker says it holds; return those of
        them that are over, None for an unknown worker.

        A lease whose answer was lost on the way is held by nobody: were every lease in the
        worker's name renewed, that one would never end. The heartbeat that was under way when its
        worker left does not bring it back.
        """
        with self.database.write() as connection:
            known = connection.execute(
                "UPDATE workers SET seen = ?, fields = json_patch(fields, ?) WHERE id = ?",
                (self._terms.clock(), json.dumps(dict(fields)), worker_id),
            ).rowcount
            WORKERS.move(
                connection,
                WorkerState.ALIVE,
                "id = :id",
                only_from=WorkerState.LOST,
                id=worker_id,
            )
            over = self.leases.renew_held(connection, worker_id, lease_ids)
        return over if known else None

    def leave(self, worker_id: str) -> tuple[int, str | None]:
        """Mark a worker as left and take its leases back at once.

        Return how many these were, and its role if it was here until now, else None.
        """
        with self.database.write() as connection:
            ended = take_back(connection, WhichLeases.of_worker(worker_id))
            was_here = connection.execute(_NOT_LEFT, (worker_id,)).fetchone()
            WORKERS.move(connection, WorkerState.LEFT, "id = :id", id=worker_id)
            connection.execute(
                "UPDATE workers SET seen = ? WHERE id = ?", (self._terms.clock(), worker_id)
            )
        return ended, was_here["role"] if was_here else None

    def mark_lost(self) -> list[LostWorker]:
        """Mark workers that fell silent as lost; return those newly lost."""
        silent = self._terms.clock() - self._terms.seconds
        if not self.database.rows(_SILENT, silent):
            return []
        with self.database.write() as connection:
            rows = connection.execute(_SILENT, (silent,)).fetchall()
            WORKERS.move(connection, WorkerState.LOST, "seen < :silent", silent=silent)
        return [LostWorker(row["id"], row["role"]) for row in rows]

    def forget(self) -> None:
        """Remove workers that have been gone for long; one that comes back registers again."""
        old = self._terms.clock() - self._terms.seconds - FORGET_SECONDS
        if not self.database.value(_GONE, old):
            return
        with self.database.write() as connection:
            WORKERS.remove(connection, "seen < :old", old=old)

    def anyone(self) -> bool:
        """Say whether any worker is here, also where nobody has asked for the lost ones lately."""
        since = self._terms.clock() - self._terms.seconds
        return bool(self.database.value(_HERE, since))

    def all(self) -> list[dict[str, Any]]:
        """Return every worker as ``/stats`` shows it."""
        now = self._terms.clock()
        return [
            {
                "id": row["id"],
                "role": row["role"],
                "seen_seconds_ago": round(now - row["seen"], 3),
                "alive": row["state"] == WorkerState.ALIVE,
                "state": row["state"],
                **json.loads(row["fields"]),
            }
            for row in self.database.rows("SELECT * FROM workers ORDER BY role, id")
        ]

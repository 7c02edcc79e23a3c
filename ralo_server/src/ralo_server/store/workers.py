"""The workers that announced themselves, and when each was last heard.

Neighbours: registration, heartbeat and leave of the web side. A worker is alive while it was
heard within a lease's time, then lost, unless it said that it leaves; in the end it is forgotten:
every start of a worker makes a new one. What workers did is counted where it is handed in, so no
total depends on these rows.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ralo_server.store.database import Database
from ralo_server.store.leases import Leases

FORGET_SECONDS = 3600.0
"""Long enough for whoever looks at the run to see that a worker was lost, or left."""

_GONE_FOR_LONG = "state IN ('lost', 'left') AND seen < ?"


@attrs.frozen
class Workers:
    """Workers of a run."""

    database: Database
    leases: Leases

    def register(self, worker_id: str, role: str, facts: Mapping[str, Any]) -> bool:
        """Store a worker; return whether it is new, or back after it had left."""
        with self.database.write() as connection:
            known = connection.execute(
                "SELECT 1 FROM workers WHERE id = ? AND state != 'left'", (worker_id,)
            )
            new = known.fetchone() is None
            connection.execute(
                "INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?, 'alive')",
                (worker_id, role, json.dumps(dict(facts)), self.leases.clock()),
            )
        return new

    def heard(
        self, worker_id: str, facts: Mapping[str, Any], lease_ids: Sequence[str]
    ) -> list[str] | None:
        """Take note of a heartbeat and renew the leases that the worker says it holds; return
        those of them that are over, None for an unknown worker.

        A lease whose answer was lost on the way is held by nobody: were every lease in the
        worker's name renewed, that one would never end. The heartbeat that was under way when its
        worker left does not bring it back.
        """
        with self.database.write() as connection:
            known = connection.execute(
                """UPDATE workers SET seen = ?, facts = json_patch(facts, ?),
                   state = CASE WHEN state = 'left' THEN 'left' ELSE 'alive' END WHERE id = ?""",
                (self.leases.clock(), json.dumps(dict(facts)), worker_id),
            ).rowcount
            over = self.leases.renew_held(connection, worker_id, lease_ids)
        return over if known else None

    def leave(self, worker_id: str) -> tuple[int, str | None]:
        """Mark a worker as left and take its leases back at once.

        Return how many these were, and its role if it was here until now, else None.
        """
        with self.database.write() as connection:
            ended = self.leases.end_of(connection, worker_id)
            was_here = connection.execute(
                "SELECT role FROM workers WHERE id = ? AND state != 'left'", (worker_id,)
            ).fetchone()
            connection.execute(
                "UPDATE workers SET state = 'left', seen = ? WHERE id = ?",
                (self.leases.clock(), worker_id),
            )
        return ended, was_here["role"] if was_here else None

    def lost(self) -> list[tuple[str, str]]:
        """Mark workers that fell silent as lost; return id and role of those newly lost."""
        silent = (self.leases.clock() - self.leases.seconds,)
        query = "SELECT id, role FROM workers WHERE state = 'alive' AND seen < ?"
        if not self.database.rows(query, *silent):
            return []
        with self.database.write() as connection:
            rows = connection.execute(query, silent).fetchall()
            connection.execute(
                "UPDATE workers SET state = 'lost' WHERE state = 'alive' AND seen < ?", silent
            )
        return [(row["id"], row["role"]) for row in rows]

    def forget(self) -> None:
        """Remove workers that have been gone for long; one that comes back registers again."""
        old = (self.leases.clock() - self.leases.seconds - FORGET_SECONDS,)
        if not self.database.value(f"SELECT 1 FROM workers WHERE {_GONE_FOR_LONG}", *old):  # noqa: S608
            return
        with self.database.write() as connection:
            connection.execute(f"DELETE FROM workers WHERE {_GONE_FOR_LONG}", old)  # noqa: S608

    def anyone(self) -> bool:
        """Say whether any worker is here, also where nobody has asked for the lost ones lately."""
        since = self.leases.clock() - self.leases.seconds
        here = "SELECT 1 FROM workers WHERE state = 'alive' AND seen >= ?"
        return bool(self.database.value(here, since))

    def all(self) -> list[dict[str, Any]]:
        """Return every worker as ``/stats`` shows it."""
        now = self.leases.clock()
        return [
            {
                "id": row["id"],
                "role": row["role"],
                "seen_seconds_ago": round(now - row["seen"], 3),
                "alive": row["state"] == "alive",
                "state": row["state"],
                **json.loads(row["facts"]),
            }
            for row in self.database.rows("SELECT * FROM workers ORDER BY role, id")
        ]

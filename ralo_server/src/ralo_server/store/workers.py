"""The workers that announced themselves, and when each was last heard.

Neighbours: registration and heartbeat of the web side. A worker is alive while it was heard
within a lease's time, then lost, and forgotten in the end: every start of a worker makes a new
one. What workers did is counted where it is handed in, so no total depends on these rows.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ralo_server.store.database import Database
from ralo_server.store.leases import Leases

FORGET_SECONDS = 3600.0
"""Long enough for whoever looks at the run to see that a worker was lost."""


@attrs.frozen
class Workers:
    """Workers of a run."""

    database: Database
    leases: Leases

    def register(self, worker_id: str, role: str, facts: Mapping[str, Any]) -> bool:
        """Store a worker; return whether it is new."""
        with self.database.write() as connection:
            known = connection.execute("SELECT 1 FROM workers WHERE id = ?", (worker_id,))
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
        worker's name renewed, that one would never end.
        """
        with self.database.write() as connection:
            known = connection.execute(
                """UPDATE workers SET seen = ?, state = 'alive', facts = json_patch(facts, ?)
                   WHERE id = ?""",
                (self.leases.clock(), json.dumps(dict(facts)), worker_id),
            ).rowcount
            over = self.leases.renew_held(connection, worker_id, lease_ids)
        return over if known else None

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
        """Remove workers that have been lost for long; one that comes back registers again."""
        old = (self.leases.clock() - self.leases.seconds - FORGET_SECONDS,)
        if not self.database.value("SELECT 1 FROM workers WHERE state = 'lost' AND seen < ?", *old):
            return
        with self.database.write() as connection:
            connection.execute("DELETE FROM workers WHERE state = 'lost' AND seen < ?", old)

    def all(self) -> list[dict[str, Any]]:
        """Return every worker as ``/stats`` shows it."""
        now = self.leases.clock()
        return [
            {
                "id": row["id"],
                "role": row["role"],
                "seen_seconds_ago": round(now - row["seen"], 3),
                "alive": row["state"] == "alive",
                **json.loads(row["facts"]),
            }
            for row in self.database.rows("SELECT * FROM workers ORDER BY role, id")
        ]

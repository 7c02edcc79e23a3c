"""What all leases have in common: they belong to a worker, expire, are renewed and given up.

Neighbours: `problems`, `trees` and `evaluations` grant leases; here they end. A lease is a
row in state ``leased`` whose `expires` lies ahead. Its id is new with every grant, so whoever
quotes an older one is told that it is lost.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence

import attrs

from ralo_core.errors import RaloError
from ralo_server.store.database import Database
from ralo_server.store.values import count

MAX_ATTEMPTS = 5
"""A problem whose lease was lost this often is given up as failed."""

_BACK = {
    "problems": f"""UPDATE problems SET worker_id = NULL,
        state = CASE WHEN attempts >= {MAX_ATTEMPTS} THEN 'failed' ELSE 'waiting' END,
        reason = CASE WHEN attempts >= {MAX_ATTEMPTS} THEN 'lease lost too often' ELSE '' END
        WHERE state = 'leased' AND {{condition}}""",
    "trees": """UPDATE trees SET state = 'queued', batch_id = NULL WHERE state = 'leased'
        AND batch_id IN (SELECT id FROM batches WHERE state = 'leased' AND {condition})""",
    "batches": "UPDATE batches SET state = 'expired' WHERE state = 'leased' AND {condition}",
    "evaluation_shards": """UPDATE evaluation_shards SET state = 'waiting', worker_id = NULL
        WHERE state = 'leased' AND {condition}""",
}
_KEYS = {"problems": "lease_id", "batches": "id", "evaluation_shards": "lease_id"}
_OVERDUE = " UNION ALL ".join(
    f"SELECT 1 FROM {table} WHERE state = 'leased' AND expires < ?"  # noqa: S608
    for table in _KEYS
)
_NO_ATTEMPT = "UPDATE problems SET attempts = attempts - 1 WHERE state = 'leased' AND {condition}"


class NotTheOwner(RaloError):
    """Raised when a worker renews or releases a lease that another worker holds."""


@attrs.frozen
class Leases:
    """The leases of a run; `seconds` is how long one lives without renewal, `clock` gives unix
    time in seconds."""

    database: Database
    seconds: float
    clock: Callable[[], float] = time.time

    def deadline(self) -> float:
        """Return the unix time at which a lease granted now ends."""
        return self.clock() + self.seconds

    def expire(self) -> None:
        """Take back what was not renewed in time."""
        now = self.clock()
        # Mostly there is nothing, and a look needs no turn as a writer.
        if not self.database.value(_OVERDUE, *[now] * len(_KEYS)):
            return
        with self.database.write() as connection:
            for statement in _BACK.values():
                connection.execute(statement.format(condition="expires < ?"), (now,))

    def end_all(self, connection: sqlite3.Connection) -> None:
        """Take every lease back at once, as no fault of its worker."""
        for statement in (_NO_ATTEMPT, *_BACK.values()):
            connection.execute(statement.format(condition="TRUE"))

    def end_of(self, connection: sqlite3.Connection, worker_id: str) -> int:
        """Take back every lease of a worker that leaves, as no fault of its; return how many."""
        connection.execute(_NO_ATTEMPT.format(condition="worker_id = ?"), (worker_id,))
        ended = {
            table: connection.execute(
                statement.format(condition="worker_id = ?"), (worker_id,)
            ).rowcount
            for table, statement in _BACK.items()
        }
        return sum(ended[table] for table in _KEYS)

    def renew_held(
        self, connection: sqlite3.Connection, worker_id: str, lease_ids: Sequence[str]
    ) -> list[str]:
        """Extend those of these leases that are the worker's; return the others: they are over."""
        return [lease for lease in lease_ids if not self._extend(connection, lease, worker_id)]

    def renew(self, worker_id: str, lease_ids: Sequence[str]) -> tuple[list[str], list[str]]:
        """Extend these leases; return those that live on and those that are lost.

        Raises `NotTheOwner`, and extends none, if another worker holds one of them.
        """
        with self.database.write() as connection:
            self.check_owner(worker_id, lease_ids)
            alive = [lease for lease in lease_ids if self._extend(connection, lease, worker_id)]
        return alive, [lease for lease in lease_ids if lease not in alive]

    def release(self, worker_id: str, lease_ids: Sequence[str], outcome: str, reason: str) -> int:
        """End leases as ``returned``, ``failed`` or ``empty``; return how many there were.

        Raises `NotTheOwner`, and ends none, if another worker holds one of them.
        """
        end = {"returned": give_back, "failed": _fail, "empty": _close_empty}[outcome]
        with self.database.write() as connection:
            self.check_owner(worker_id, lease_ids)
            return sum(end(connection, lease, reason) for lease in lease_ids)

    def release_one(self, lease: str) -> None:
        """Give one lease back on behalf of its owner."""
        with self.database.write() as connection:
            give_back(connection, lease)

    def check_owner(self, worker_id: str, lease_ids: Sequence[str]) -> None:
        """Raise `NotTheOwner` if another worker holds one of these leases."""
        for lease in lease_ids:
            for table, key in _KEYS.items():
                owner = self.database.value(
                    f"SELECT worker_id FROM {table} WHERE state = 'leased' AND {key} = ?",  # noqa: S608
                    lease,
                )
                if owner not in (None, worker_id):
                    msg = f"lease {lease} belongs to {owner}, not to {worker_id}"
                    raise NotTheOwner(msg)

    def _extend(self, connection: sqlite3.Connection, lease: str, worker_id: str) -> bool:
        return any(
            connection.execute(
                f"""UPDATE {table} SET expires = ?
                    WHERE state = 'leased' AND {key} = ? AND worker_id = ?""",  # noqa: S608
                (self.deadline(), lease, worker_id),
            ).rowcount
            for table, key in _KEYS.items()
        )


def give_back(connection: sqlite3.Connection, lease: str, reason: str = "") -> bool:
    """Return the work of a lease to its queue; say whether the lease still held."""
    # An honest return is no failed attempt.
    connection.execute(_NO_ATTEMPT.format(condition="lease_id = ?"), (lease,))
    ended = 0
    for table, statement in _BACK.items():
        condition = f"{_KEYS.get(table, 'id')} = ?"
        ended += connection.execute(statement.format(condition=condition), (lease,)).rowcount
    return bool(ended)


def _fail(connection: sqlite3.Connection, lease: str, reason: str) -> bool:
    failed = connection.execute(
        "UPDATE problems SET state = 'failed', reason = ? WHERE state = 'leased' AND lease_id = ?",
        (reason, lease),
    ).rowcount
    return bool(failed) or _fail_batch(connection, lease) or give_back(connection, lease, reason)


def _fail_batch(connection: sqlite3.Connection, lease: str) -> bool:
    """A batch whose gradient must not be used: given out again, it would be computed again and
    again, so its trees are set aside. Their rows and blobs stay."""
    failed = connection.execute(
        "UPDATE batches SET state = 'failed' WHERE state = 'leased' AND id = ?", (lease,)
    ).rowcount
    connection.execute(
        "UPDATE trees SET state = 'failed' WHERE batch_id = ? AND state = 'leased'", (lease,)
    )
    return bool(failed)


def _close_empty(connection: sqlite3.Connection, lease: str, reason: str) -> bool:
    """A batch without a gradient: its trees are done with all the same."""
    closed = connection.execute(
        "UPDATE batches SET state = 'empty' WHERE state = 'leased' AND id = ?", (lease,)
    ).rowcount
    if not closed:
        return False
    trained = connection.execute(
        "UPDATE trees SET state = 'trained' WHERE batch_id = ?", (lease,)
    ).rowcount
    count(connection, "trees_trained", trained)
    return True

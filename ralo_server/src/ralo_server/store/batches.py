"""The table of batches: trees under one lease, and what becomes of them when it ends.

A batch is handed out as the bodies in which its trees were uploaded: they were checked then, and
are not taken apart and put together again.
"""

import sqlite3
import uuid
from collections.abc import Iterable
from pathlib import Path

import attrs

from ralo_server.store import trees
from ralo_server.store.database import Database
from ralo_server.store.lease_terms import LeasedTable, LeaseTerms, WhichLeases
from ralo_server.store.lifecycle import in_states
from ralo_server.store.states import BATCHES, TREES, BatchState, TreeState

LEASES = LeasedTable(BATCHES.table, "id", BatchState.LEASED)
"""The id of a batch is that of its lease: a batch is handed out once."""

_LEASED = in_states(BatchState.LEASED)
_GRANTED = f"""SELECT id, expires FROM batches
    WHERE request = ? AND worker_id = ? AND {_LEASED}"""  # noqa: S608
_UNCOUNTED_EMPTY = f"""SELECT id FROM batches
    WHERE step IS NULL AND {in_states(BatchState.EMPTY)}"""  # noqa: S608


@attrs.frozen(kw_only=True)
class StoredBatch:
    """A leased batch: the stored body of each tree, oldest first; `expires` is unix seconds."""

    id: str
    expires: float
    bodies: tuple[bytes, ...]


@attrs.frozen
class Batches:
    """Batches of a run; the blobs of trees lie in `folder`."""

    database: Database
    leases: LeaseTerms
    folder: Path

    def lease(
        self, worker_id: str, size: int, partial: bool, request: str | None = None
    ) -> StoredBatch | None:
        """Lease the `size` oldest queued trees, fewer only if `partial`; None if there are not
        enough.

        A `request` that was granted before gets the same batch again: its answer was lost.
        """
        least = 1 if partial else size
        if self._queued() < least and not self._granted(worker_id, request):
            return None
        with self.database.write() as connection:
            batch = self._granted(worker_id, request)
            if batch is None:
                if self._queued() < least:
                    return None
                batch = (uuid.uuid4().hex, self.leases.deadline())
                BATCHES.insert(
                    connection,
                    BatchState.LEASED,
                    id=batch[0],
                    worker_id=worker_id,
                    expires=batch[1],
                    request=request,
                )
                trees.take(connection, batch[0], size)
            blobs = trees.blobs_of(connection, batch[0])
        bodies = tuple((self.folder / blob).read_bytes() for blob in blobs)
        return StoredBatch(id=batch[0], expires=batch[1], bodies=bodies)

    def empty(self) -> list[str]:
        """Return batches without a gradient that no step has counted yet."""
        return [row["id"] for row in self.database.rows(_UNCOUNTED_EMPTY)]

    def _granted(self, worker_id: str, request: str | None) -> tuple[str, float] | None:
        """Return id and expiry of the batch that answered `request`, if it is still leased."""
        rows = self.database.rows(_GRANTED, request, worker_id)
        return (rows[0]["id"], rows[0]["expires"]) if rows else None

    def _queued(self) -> int:
        return TREES.count(self.database, TreeState.QUEUED)


def leased(database: Database, batch_id: str) -> bool:
    """Say whether the lease of a batch still holds."""
    state = database.value("SELECT state FROM batches WHERE id = ?", batch_id)
    return bool(state == BatchState.LEASED)


def finish(connection: sqlite3.Connection, batch_id: str) -> None:
    """Close a leased batch whose gradient was accepted."""
    BATCHES.move(connection, BatchState.DONE, "id = :batch", batch=batch_id)
    trees.mark_trained(connection, batch_id)


def close_empty(connection: sqlite3.Connection, batch_id: str) -> bool:
    """Close a leased batch that has no gradient; say whether the lease still held.

    Its trees are done with all the same."""
    closed = BATCHES.move(connection, BatchState.EMPTY, "id = :batch", batch=batch_id)
    if closed:
        trees.mark_trained(connection, batch_id)
    return bool(closed)


def fail(connection: sqlite3.Connection, batch_id: str) -> bool:
    """Set a leased batch aside whose gradient must not be used; say whether the lease still held.

    Given out again, its trees would give the same gradient again and again."""
    failed = BATCHES.move(connection, BatchState.FAILED, "id = :batch", batch=batch_id)
    if failed:
        trees.mark_failed(connection, batch_id)
    return bool(failed)


def take_back(connection: sqlite3.Connection, which: WhichLeases) -> int:
    """End leases: the trees of these batches wait for another one; return how many they were."""
    query = f"SELECT id FROM batches WHERE {_LEASED} AND {which.where('id')}"  # noqa: S608
    ended = [row["id"] for row in connection.execute(query, which.values).fetchall()]
    for batch_id in ended:
        BATCHES.move(
            connection,
            BatchState.EXPIRED,
            "id = :batch",
            only_from=BatchState.LEASED,
            batch=batch_id,
        )
        trees.put_back(connection, batch_id)
    return len(ended)


def train_again(connection: sqlite3.Connection, batch_id: str) -> None:
    """Let the trees of a closed batch wait for another one: its gradient was discarded."""
    BATCHES.move(
        connection, BatchState.EXPIRED, "id = :batch", only_from=BatchState.DONE, batch=batch_id
    )
    trees.train_again(connection, batch_id)


def count_in_step(connection: sqlite3.Connection, step: int, batches: Iterable[str]) -> None:
    """Record that `step` counts these batches in its metrics."""
    connection.executemany(
        "UPDATE batches SET step = ? WHERE id = ?", [(step, batch) for batch in batches]
    )

"""The sample queue: rollout trees, each stored once, and the batches they are trained in.

Neighbours: samplers' uploads come through the web side, trainers lease batches, `gradients`
closes a batch, `dynamic_sampling` says what no batch takes. The tree itself is a blob; a row holds
what the metrics need, `tree_facts`, and is all that is kept of a tree that is skipped.
"""

import json
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path

import attrs

from ralo_core import wire
from ralo_core.config import RolloutsSettings
from ralo_core.data import Batch, RolloutTree
from ralo_core.files.atomic import write_blob
from ralo_server.store.database import Database
from ralo_server.store.facts import count
from ralo_server.store.kept_rollouts import kept_rollouts
from ralo_server.store.leases import Leases
from ralo_server.store.tree_facts import tree_facts
from ralo_server.store.versions import abandoned

STORED, DUPLICATE, LOST, ABANDONED = "stored", "duplicate", "lost", "abandoned"
QUEUED, SKIPPED = "queued", "skipped"

_LEASE = """INSERT INTO batches (id, worker_id, state, expires, request)
    VALUES (?, ?, 'leased', ?, ?)"""
_TAKE = """UPDATE trees SET state = 'leased', batch_id = ? WHERE number IN
    (SELECT number FROM trees WHERE state = 'queued' ORDER BY number LIMIT ?)"""
_TRAINED = """SELECT t.number, t.blob, b.step FROM trees t JOIN batches b ON b.id = t.batch_id
    WHERE t.state = 'trained' AND b.step IS NOT NULL ORDER BY t.number"""
_NUMBER = """INSERT INTO counters
    SELECT 'trees_numbered', COALESCE(MAX(number), 0) + 1 FROM trees WHERE TRUE
    ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"""
_BLOBS = "SELECT blob FROM trees WHERE batch_id = ? ORDER BY number"
_GRANTED = (
    "SELECT id, expires FROM batches WHERE request = ? AND worker_id = ? AND state = 'leased'"
)


@attrs.frozen
class Trees:
    """Trees of a run; blobs lie in `folder`, and no trainer gets a tree that `skips` holds for.

    What `keeps` says of a trained tree is for people to look at: nothing in the run needs one.
    """

    database: Database
    leases: Leases
    folder: Path
    skips: Callable[[RolloutTree], bool]
    keeps: RolloutsSettings

    def add(self, lease_id: str, tree: RolloutTree, body: bytes) -> str:
        """Queue or skip a tree under the lease of its problem; return `STORED`, `DUPLICATE`,
        `LOST`, or `ABANDONED` for one by weights that a rollback left behind: its problem waits
        again."""
        if self._known(lease_id):
            return DUPLICATE
        if self._lease_state(lease_id) != "leased":
            return LOST
        if abandoned(self.database, set(tree.versions.tolist())):
            self.leases.release_one(lease_id)
            return ABANDONED
        if self.skips(tree):
            return self._enter(lease_id, tree, SKIPPED, blob="")
        # The name is of this request alone: one that comes too late removes what it wrote.
        blob = f"{lease_id}.{uuid.uuid4().hex}.safetensors"
        write_blob(self.folder / blob, body)
        outcome = ""
        try:
            outcome = self._enter(lease_id, tree, QUEUED, blob)
        finally:
            if outcome != STORED:
                (self.folder / blob).unlink()
        return outcome

    def _enter(self, lease_id: str, tree: RolloutTree, state: str, blob: str) -> str:
        with self.database.write() as connection:
            if self._known(lease_id):
                return DUPLICATE
            if self._lease_state(lease_id) != "leased":
                return LOST
            connection.execute("UPDATE problems SET state = 'done' WHERE lease_id = ?", (lease_id,))
            connection.execute(
                """INSERT INTO trees (number, lease_id, blob, state, oldest_version, facts, time)
                   VALUES (?, ?, ?, ?, ?, ?, ?)""",
                (
                    _new_number(connection),
                    lease_id,
                    blob,
                    state,
                    int(tree.versions.min()),
                    json.dumps(tree_facts(tree)),
                    self.leases.clock(),
                ),
            )
            count(connection, "trees_skipped", int(state == SKIPPED))
            count(connection, "tokens_decoded", len(tree.tokens))
            count(connection, "rollouts_sampled", len(tree.leaves))
        return STORED

    def lease_batch(
        self, worker_id: str, size: int, partial: bool, request: str | None = None
    ) -> Batch | None:
        """Lease the `size` oldest queued trees, fewer only if `partial`; None if there are not
        enough.

        A `request` that was granted before gets the same batch again: its answer was lost.
        """
        least = 1 if partial else size
        if self.queued() < least and not self._granted(worker_id, request):
            return None
        with self.database.write() as connection:
            batch = self._granted(worker_id, request)
            if batch is None:
                if self.queued() < least:
                    return None
                batch = (uuid.uuid4().hex, self.leases.deadline())
                connection.execute(_LEASE, (batch[0], worker_id, batch[1], request))
                connection.execute(_TAKE, (batch[0], size))
            blobs = connection.execute(_BLOBS, (batch[0],)).fetchall()
        bodies = [(self.folder / row["blob"]).read_bytes() for row in blobs]
        trees = tuple(wire.unpack_tree(body) for body in bodies)
        return Batch(id=batch[0], expires=batch[1], trees=trees)

    def _granted(self, worker_id: str, request: str | None) -> tuple[str, float] | None:
        """Return id and expiry of the batch that answered `request`, if it is still leased."""
        rows = self.database.rows(_GRANTED, request, worker_id)
        return (rows[0]["id"], rows[0]["expires"]) if rows else None

    def queued(self) -> int:
        """Return how many trees wait for a trainer."""
        return int(self.database.value("SELECT COUNT(*) FROM trees WHERE state = 'queued'"))

    def unfinished(self) -> int:
        """Return how many trees wait for a trainer or are with one."""
        return int(
            self.database.value("SELECT COUNT(*) FROM trees WHERE state IN ('queued', 'leased')")
        )

    def delete_trained(self) -> None:
        """Remove rows and blobs of trees whose step is committed, but for those that `keeps` names;
        their counts are kept."""
        rows = self.database.rows(_TRAINED)
        newest = int(self.database.value("SELECT MAX(step) FROM steps") or 0)
        kept = kept_rollouts([(row["number"], row["step"]) for row in rows], newest, self.keeps)
        done = [row for row in rows if row["number"] not in kept]
        if not done:
            return
        for row in done:
            (self.folder / row["blob"]).unlink(missing_ok=True)
        with self.database.write() as connection:
            connection.executemany(
                "DELETE FROM trees WHERE number = ?", [(row["number"],) for row in done]
            )

    def _lease_state(self, lease_id: str) -> str | None:
        state: str | None = self.database.value(
            "SELECT state FROM problems WHERE lease_id = ?", lease_id
        )
        return state

    def _known(self, lease_id: str) -> bool:
        return self._lease_state(lease_id) == "done"


def _new_number(connection: sqlite3.Connection) -> int:
    """Return a number that no tree has had: SQLite's own would be given again after a deletion."""
    row = connection.execute(_NUMBER).fetchone()
    return int(row[0])

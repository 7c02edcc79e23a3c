"""The table of rollout trees: each is stored once, under the lease of its problem.

The tree itself is a blob; its row holds a summary, which a step's metrics are made of and which is
all that is kept of a tree that is skipped.
"""

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs

from ralo_core.config import RolloutsSettings
from ralo_core.data import RolloutTree
from ralo_core.files.atomic import write_blob
from ralo_server.store import problems
from ralo_server.store.database import Database
from ralo_server.store.lease_terms import LeaseTerms, WhichLeases
from ralo_server.store.lifecycle import in_states
from ralo_server.store.sampling.kept_rollouts import kept_rollouts
from ralo_server.store.sampling.tree_summaries import tree_summary
from ralo_server.store.states import TREES, ProblemState, TreeState
from ralo_server.store.values import begin_total, count
from ralo_server.store.weights.versions import abandoned

STORED, DUPLICATE, LOST, ABANDONED = "stored", "duplicate", "lost", "abandoned"

_TRAINED = f"""SELECT t.number, t.blob, b.step FROM trees t JOIN batches b ON b.id = t.batch_id
    WHERE {in_states(TreeState.TRAINED, column="t.state")} AND b.step IS NOT NULL
    ORDER BY t.number"""  # noqa: S608
_OLDEST = f"""number IN (SELECT number FROM trees WHERE {in_states(TreeState.QUEUED)}
    ORDER BY number LIMIT :size)"""  # noqa: S608


@attrs.frozen
class Trees:
    """Trees of a run; blobs lie in `folder`, and no trainer gets a tree that `skips` holds for.

    What `keeps` says of a trained tree is for people to look at: nothing in the run needs one.
    """

    database: Database
    leases: LeaseTerms
    folder: Path
    skips: Callable[[RolloutTree], bool]
    keeps: RolloutsSettings

    def add(self, lease_id: str, tree: RolloutTree, body: bytes) -> str:
        """Queue or skip a tree under the lease of its problem; return `STORED`, `DUPLICATE`,
        `LOST`, or `ABANDONED` for one by weights that a rollback left behind: its problem waits
        again."""
        refused = self._refused(lease_id)
        if refused:
            return refused
        if abandoned(self.database, set(tree.versions.tolist())):
            with self.database.write() as connection:
                problems.take_back(connection, WhichLeases.one(lease_id))
            return ABANDONED
        if self.skips(tree):
            return self._enter(lease_id, tree, TreeState.SKIPPED, blob="")
        # The name is of this request alone: one that comes too late removes what it wrote.
        blob = f"{lease_id}.{uuid.uuid4().hex}.safetensors"
        write_blob(self.folder / blob, body)
        outcome = ""
        try:
            outcome = self._enter(lease_id, tree, TreeState.QUEUED, blob)
        finally:
            if outcome != STORED:
                (self.folder / blob).unlink()
        return outcome

    def _refused(self, lease_id: str) -> str:
        """Return why no tree is taken under this lease, ``""`` if one is."""
        state = problems.lease_state(self.database, lease_id)
        if state == ProblemState.DONE:
            return DUPLICATE
        return "" if state == ProblemState.LEASED else LOST

    def _enter(self, lease_id: str, tree: RolloutTree, state: TreeState, blob: str) -> str:
        with self.database.write() as connection:
            refused = self._refused(lease_id)
            if refused:
                return refused
            problems.finish(connection, lease_id)
            TREES.insert(
                connection,
                state,
                number=_new_number(connection),
                lease_id=lease_id,
                blob=blob,
                oldest_version=int(tree.versions.min()),
                summary=json.dumps(tree_summary(tree)),
                time=self.leases.clock(),
            )
            count(connection, "trees_skipped", int(state == TreeState.SKIPPED))
            count(connection, "tokens_decoded", len(tree.tokens))
            count(connection, "rollouts_sampled", len(tree.leaves))
        return STORED

    def queued(self) -> int:
        """Return how many trees wait for a trainer."""
        return TREES.count(self.database, TreeState.QUEUED)

    def unfinished(self) -> int:
        """Return how many trees wait for a trainer or are with one."""
        return TREES.count(self.database, TreeState.QUEUED, TreeState.LEASED)

    def of_batch(self, batch_id: str) -> list[tuple[int, dict[str, Any]]]:
        """Return (oldest version, summary) of every tree of a batch."""
        rows = self.database.rows(
            "SELECT oldest_version, summary FROM trees WHERE batch_id = ?", batch_id
        )
        return [(int(row["oldest_version"]), json.loads(row["summary"])) for row in rows]

    def skipped(self) -> dict[int, tuple[int, dict[str, Any]]]:
        """Return (oldest version, summary) by number of the trees that were skipped and that no
        step has counted yet."""
        rows = self.database.rows(
            f"""SELECT number, oldest_version, summary FROM trees
                WHERE {in_states(TreeState.SKIPPED)}"""  # noqa: S608
        )
        return {row["number"]: (row["oldest_version"], json.loads(row["summary"])) for row in rows}

    def delete_trained(self) -> None:
        """Remove rows and blobs of trees whose step is committed, but for those that `keeps` names;
        their counts are kept."""
        rows = self.database.rows(_TRAINED)
        newest = int(self.database.value("SELECT MAX(step) FROM steps") or 0)
        kept = kept_rollouts([(row["number"], row["step"]) for row in rows], newest, self.keeps)
        done = [row for row in rows if row["number"] not in kept]
        if not done:
            return
        # The blobs go first: a row whose blob is gone is removed the next time.
        for row in done:
            (self.folder / row["blob"]).unlink(missing_ok=True)
        with self.database.write() as connection:
            for row in done:
                TREES.remove(connection, "number = :number", number=row["number"])


def take(connection: sqlite3.Connection, batch_id: str, size: int) -> None:
    """Put the `size` oldest queued trees into a batch."""
    TREES.move(
        connection, TreeState.LEASED, _OLDEST, sets="batch_id = :batch", batch=batch_id, size=size
    )


def blobs_of(connection: sqlite3.Connection, batch_id: str) -> list[str]:
    """Return the names of the blobs of a batch, oldest tree first."""
    query = "SELECT blob FROM trees WHERE batch_id = ? ORDER BY number"
    return [row["blob"] for row in connection.execute(query, (batch_id,))]


def put_back(connection: sqlite3.Connection, batch_id: str) -> None:
    """Let the trees of a batch whose lease ended wait for another one."""
    _requeue(connection, batch_id, TreeState.LEASED)


def mark_trained(connection: sqlite3.Connection, batch_id: str) -> None:
    """Count the trees of a batch as trained."""
    trained = TREES.move(connection, TreeState.TRAINED, "batch_id = :batch", batch=batch_id)
    count(connection, "trees_trained", trained)


def mark_failed(connection: sqlite3.Connection, batch_id: str) -> None:
    """Set the trees of a batch aside; rows and blobs stay."""
    TREES.move(connection, TreeState.FAILED, "batch_id = :batch", batch=batch_id)


def train_again(connection: sqlite3.Connection, batch_id: str) -> None:
    """Let the trained trees of a batch wait again: its gradient was discarded."""
    count(connection, "trees_trained", -_requeue(connection, batch_id, TreeState.TRAINED))


def discard(connection: sqlite3.Connection, lease_id: str) -> None:
    """Discard a queued tree; its problem waits for a sampler again. The blob is the caller's."""
    TREES.move(connection, TreeState.DISCARDED, "lease_id = :lease", lease=lease_id)
    problems.sample_again(connection, lease_id)


def remove_skipped(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Remove the rows of skipped trees that a step has counted."""
    for number in numbers:
        TREES.remove(connection, "number = :number", number=number)


def remove_kept(connection: sqlite3.Connection, lease_id: str) -> None:
    """Remove the row of a trained tree that was kept to be looked at."""
    TREES.remove(connection, "lease_id = :lease", lease=lease_id)


def _requeue(connection: sqlite3.Connection, batch_id: str, from_state: TreeState) -> int:
    return TREES.move(
        connection,
        TreeState.QUEUED,
        "batch_id = :batch",
        sets="batch_id = NULL",
        only_from=from_state,
        batch=batch_id,
    )


def _new_number(connection: sqlite3.Connection) -> int:
    """Return a number that no tree has had: SQLite's own would be given again after a deletion."""
    # A run of an older version has trees and no such counter.
    (largest,) = connection.execute("SELECT COALESCE(MAX(number), 0) FROM trees").fetchone()
    begin_total(connection, "trees_numbered", largest)
    return count(connection, "trees_numbered")

"""What state.db says of its own health, and which blobs its rows point at.

Neighbours: ``ralo doctor`` compares it with the files; `mending` changes rows whose blob is
gone.
"""

import sqlite3
from pathlib import Path

import attrs

from ralo_server.store.database import Database
from ralo_server.store.schema import MIGRATIONS
from ralo_server.store.steps.step_log import logged_blobs


@attrs.frozen
class TreeRow:
    """A tree that somebody still needs, or may look at, and the file it is in."""

    lease_id: str
    blob: str


def ill_health(path: Path) -> list[str]:
    """Return what SQLite finds wrong with the file; it is not changed."""
    database = Database(path, read_only=True)
    try:
        found = [str(row[0]) for row in database.rows("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [line for line in found if line != "ok"]


def schema_lag(path: Path) -> int:
    """Return how many migrations the file lacks; below 0 if it is newer than this program."""
    return len(MIGRATIONS) - Database(path, read_only=True).schema()


def needed_trees(database: Database) -> list[TreeRow]:
    """Return the trees that wait for a trainer or are with one."""
    rows = database.rows("SELECT lease_id, blob FROM trees WHERE state IN ('queued', 'leased')")
    return [TreeRow(row["lease_id"], row["blob"]) for row in rows]


def kept_trees(database: Database) -> list[TreeRow]:
    """Return the trees of committed steps, which are kept to be looked at."""
    rows = database.rows(
        """SELECT t.lease_id, t.blob FROM trees t JOIN batches b ON b.id = t.batch_id
           WHERE t.state = 'trained' AND b.step IS NOT NULL"""
    )
    return [TreeRow(row["lease_id"], row["blob"]) for row in rows]


def known_blobs(database: Database) -> set[str]:
    """Return the names of the trees and gradients that may have a file; those of the redo log
    among them."""
    rows = database.rows(
        """SELECT blob FROM trees WHERE state != 'discarded'
           UNION SELECT blob FROM gradients WHERE state IN ('receiving', 'pending')"""
    )
    return {row["blob"] for row in rows} | logged_blobs(database)


def known_optimizers(database: Database) -> set[str]:
    """Return the checkpoints that the versions which are kept are restored from."""
    rows = database.rows("SELECT DISTINCT optimizer FROM versions WHERE state = 'published'")
    return {row["optimizer"] for row in rows} - {""}

"""What state.db says of its own health, and which blobs its rows point at.

``ralo doctor`` compares it with the files; `repair` changes rows whose blob is gone.
"""

import sqlite3
from pathlib import Path

import attrs

from ralo_server.store.database import Database
from ralo_server.store.gradients import logged_blobs
from ralo_server.store.lifecycle import in_states, not_in_states
from ralo_server.store.schema import MIGRATIONS
from ralo_server.store.states import GradientState, TreeState

_NEEDED = f"""SELECT lease_id, blob FROM trees
    WHERE {in_states(TreeState.QUEUED, TreeState.LEASED)}"""  # noqa: S608
_KEPT = f"""SELECT t.lease_id, t.blob FROM trees t JOIN batches b ON b.id = t.batch_id
    WHERE {in_states(TreeState.TRAINED, column="t.state")} AND b.step IS NOT NULL"""  # noqa: S608
_BLOBS = f"""SELECT blob FROM trees WHERE {not_in_states(TreeState.DISCARDED)}
    UNION SELECT blob FROM gradients
    WHERE {in_states(GradientState.RECEIVING, GradientState.PENDING)}"""  # noqa: S608


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
    return [TreeRow(row["lease_id"], row["blob"]) for row in database.rows(_NEEDED)]


def kept_trees(database: Database) -> list[TreeRow]:
    """Return the trees of committed steps, which are kept to be looked at."""
    return [TreeRow(row["lease_id"], row["blob"]) for row in database.rows(_KEPT)]


def known_blobs(database: Database) -> set[str]:
    """Return the names of the trees and gradients that may have a file; those of the step log
    among them."""
    return {row["blob"] for row in database.rows(_BLOBS)} | logged_blobs(database)

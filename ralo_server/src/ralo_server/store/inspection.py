"""What state.db says of its own health, and which blobs its rows point at.

Neighbours: ``ralo doctor`` compares it with the files; `mending` changes rows whose blob is
gone.
"""

import sqlite3
from pathlib import Path

import attrs

from ralo_server.store.database import Database
from ralo_server.store.facts import get_fact
from ralo_server.store.schema import MIGRATIONS


@attrs.frozen
class TreeRow:
    """A tree that somebody still needs, and the file it is in."""

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


def known_blobs(database: Database) -> set[str]:
    """Return the names of the trees and gradients that may have a file."""
    rows = database.rows(
        """SELECT blob FROM trees WHERE state != 'discarded'
           UNION SELECT blob FROM gradients WHERE state IN ('receiving', 'pending')"""
    )
    return {row["blob"] for row in rows}


def known_optimizers(database: Database) -> set[str]:
    """Return the optimizer folders of the committed step and of every version that is kept."""
    rows = database.rows("SELECT optimizer FROM versions WHERE state = 'published'")
    return {get_fact(database, "optimizer", ""), *(row["optimizer"] for row in rows)} - {""}


def committed_optimizer(database: Database) -> str:
    """Return the optimizer folder that a start goes on from, ``""`` before the first step."""
    name: str = get_fact(database, "optimizer", "")
    return name

"""Single values and running totals of a run: name -> JSON, name -> integer.

Neighbours: every other module of `store`; the names are written where they are used.
"""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from ralo_server.store.database import Database


def get_value(database: Database, name: str, default: Any = None) -> Any:
    """Return a stored value, or `default`."""
    text = database.value("SELECT value FROM facts WHERE name = ?", name)
    return default if text is None else json.loads(text)


def put_value(connection: sqlite3.Connection, name: str, value: Any) -> None:
    """Store a JSON-able value inside the caller's transaction."""
    text = json.dumps(value, ensure_ascii=False)
    connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, text))


def put_values(database: Database, facts: Mapping[str, Any]) -> None:
    """Store several values in a transaction of their own."""
    with database.write() as connection:
        for name, value in facts.items():
            put_value(connection, name, value)


def count(connection: sqlite3.Connection, name: str, amount: int = 1) -> None:
    """Add to a running total inside the caller's transaction."""
    connection.execute(
        "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + ?",
        (name, amount, amount),
    )


def total(database: Database, name: str) -> int:
    """Return a running total, 0 where nothing was counted."""
    return int(database.value("SELECT value FROM counters WHERE name = ?", name) or 0)

"""Single values and running totals of a run: name -> JSON, name -> integer.

The names are written where they are used: each belongs to the module that writes it.
"""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from ralo_server.store.database import Database


def get_value(database: Database, name: str, default: Any = None) -> Any:
    """Return a stored value, or `default`."""
    text = database.value("SELECT value FROM run_values WHERE name = ?", name)
    return default if text is None else json.loads(text)


def put_value(connection: sqlite3.Connection, name: str, value: Any) -> None:
    """Store a JSON-able value inside the caller's transaction."""
    text = json.dumps(value, ensure_ascii=False)
    connection.execute("INSERT OR REPLACE INTO run_values VALUES (?, ?)", (name, text))


def put_values(database: Database, values: Mapping[str, Any]) -> None:
    """Store several values in a transaction of their own."""
    with database.write() as connection:
        for name, value in values.items():
            put_value(connection, name, value)


def count(connection: sqlite3.Connection, name: str, amount: int = 1) -> int:
    """Add to a running total inside the caller's transaction; return what it is then."""
    row = connection.execute(
        """INSERT INTO counters VALUES (?, ?)
           ON CONFLICT (name) DO UPDATE SET value = value + ? RETURNING value""",
        (name, amount, amount),
    ).fetchone()
    return int(row[0])


def begin_total(connection: sqlite3.Connection, name: str, value: int) -> None:
    """Let a running total that does not exist yet begin with `value`."""
    connection.execute("INSERT OR IGNORE INTO counters VALUES (?, ?)", (name, value))


def total(database: Database, name: str) -> int:
    """Return a running total, 0 where nothing was counted."""
    return int(database.value("SELECT value FROM counters WHERE name = ?", name) or 0)

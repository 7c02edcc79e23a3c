"""One SQLite file in WAL mode, a connection per thread, every change in one transaction.

This module knows nothing of what is stored: the modules of the tables bring their SQL.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ralo_core.errors import RaloError
from ralo_server.store.schema import MIGRATIONS

_CHECKPOINT_WRITES = 4096
"""After so many writes of a process the log, some 200 MB then, is written back into the file. The
writer that begins the log anew waits for the disk: under a busy one that must be rare."""

DAMAGED = (sqlite3.DatabaseError, ValueError)
"""What reading a damaged state.db raises: it is no SQLite, has other tables, or no JSON in them."""


class Database:
    """state.db at `path`; created or brought up to date when it is opened.

    With `read_only` it is left as it is, and whatever would write raises.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._local = threading.local()
        self._turn = threading.RLock()
        self._writes = 0
        if not read_only:
            self._migrate()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside an immediate transaction: all of it happens, or nothing."""
        # SQLite makes a second writer sleep and try again. Threads of one process need not: they
        # take turns here, and only other processes are met at the file.
        with self._turn:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            self._writes += 1
            due = self._writes % _CHECKPOINT_WRITES == 0
        if due:
            # Not inside the turn, as SQLite would by itself: the disk may be busy.
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Return what a query selects."""
        return self._connection().execute(sql, values).fetchall()

    def value(self, sql: str, *values: Any) -> Any:
        """Return the first column of the first row, or None."""
        row = self._connection().execute(sql, values).fetchone()
        return None if row is None else row[0]

    def schema(self) -> int:
        """Return how many of `MIGRATIONS` the file has been through."""
        return int(self.value("PRAGMA user_version"))

    def close(self) -> None:
        """Close the connection of this thread; another question opens it again."""
        connection: sqlite3.Connection | None = self._local.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._open()
            self._local.connection = connection
        return connection

    def _open(self) -> sqlite3.Connection:
        uri = f"{self.path.resolve().as_uri()}?mode={'ro' if self._read_only else 'rwc'}"
        connection = sqlite3.connect(uri, uri=True, timeout=30.0, isolation_level=None)
        connection.row_factory = sqlite3.Row
        if not self._read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            # A process that is killed loses nothing at NORMAL; only a power cut can take the
            # last transactions, and never leaves the file inconsistent.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection

    def _migrate(self) -> None:
        if self.schema() == len(MIGRATIONS):
            return
        with self.write() as connection:
            version = self.schema()  # another process may have been faster
            if version > len(MIGRATIONS):
                msg = f"{self.path} was written by a newer ralo-server (schema {version}); update"
                raise RaloError(msg)
            for script in MIGRATIONS[version:]:
                for statement in script.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

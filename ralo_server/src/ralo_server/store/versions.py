"""The weight versions that were published, and which of them are still on disk.

Neighbours: `steps` adds a version together with the step that made it; the web side serves
the files. The folder of version N is ``weights/vNNNNNN``.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from ralo_core.data import WeightVersion
from ralo_core.structuring import structure, unstructure
from ralo_server.store.database import Database
from ralo_server.store.parts import add_parts, forget_parts, version_folder


@attrs.frozen(kw_only=True)
class KeptVersion:
    """A version whose files are there, its step, and the name of its optimizer folder (``""``:
    none, its state is that of a fresh optimizer)."""

    version: WeightVersion
    step: int
    optimizer: str


@attrs.frozen
class Versions:
    """Versions of a run; their folders lie in `folder`, `clock` gives the unix time in seconds."""

    database: Database
    folder: Path
    clock: Callable[[], float] = time.time

    def directory(self, number: int) -> Path:
        """Return the folder of a version."""
        return version_folder(self.folder, number)

    def newest(self) -> WeightVersion | None:
        """Return the newest version, None before the first."""
        body = self.database.value("SELECT body FROM versions ORDER BY number DESC LIMIT 1")
        return None if body is None else structure(json.loads(body), WeightVersion)

    def newest_number(self) -> int:
        """Return the number of the newest version, -1 before the first."""
        number = self.database.value("SELECT MAX(number) FROM versions")
        return -1 if number is None else int(number)

    def get(self, number: int) -> WeightVersion | None:
        """Return a version whose files are there, or None."""
        body = self.database.value(
            "SELECT body FROM versions WHERE number = ? AND state = 'published'", number
        )
        return None if body is None else structure(json.loads(body), WeightVersion)

    def published(self) -> list[int]:
        """Return the numbers of the versions that are not pruned."""
        rows = self.database.rows("SELECT number FROM versions WHERE state = 'published'")
        return [int(row["number"]) for row in rows]

    def kept(self) -> list[KeptVersion]:
        """Return every version that is not pruned, oldest first."""
        rows = self.database.rows(
            "SELECT body, step, optimizer FROM versions WHERE state = 'published' ORDER BY number"
        )
        return [
            KeptVersion(
                version=structure(json.loads(row["body"]), WeightVersion),
                step=int(row["step"]),
                optimizer=row["optimizer"],
            )
            for row in rows
        ]

    def add(
        self,
        connection: sqlite3.Connection,
        version: WeightVersion,
        step: int,
        optimizer: str = "",
    ) -> None:
        """Publish inside the caller's transaction."""
        connection.execute(
            """INSERT INTO versions (number, step, body, state, optimizer)
               VALUES (?, ?, ?, 'published', ?)""",
            (version.number, step, json.dumps(unstructure(version)), optimizer),
        )
        add_parts(connection, version)

    def prune(self, keep_last: int, keep_every: int = 0) -> list[int]:
        """Mark all but the first, the last `keep_last`, every `keep_every`-th (0: none), those to
        be evaluated and those that a worker is fetching as pruned; return their numbers, so that
        the caller removes the files."""
        with self.database.write() as connection:
            rows = connection.execute(
                """SELECT number FROM versions WHERE state = 'published' AND number > 0
                   AND number <= (SELECT MAX(number) FROM versions) - ?
                   AND (? = 0 OR number % ? != 0)
                   AND number NOT IN (SELECT version FROM evaluations WHERE state != 'reported')
                   AND number NOT IN (SELECT version FROM readers WHERE expires > ?)""",
                (keep_last, keep_every, keep_every, self.clock()),
            ).fetchall()
            numbers = [int(row["number"]) for row in rows]
            connection.executemany(
                "UPDATE versions SET state = 'pruned' WHERE number = ?",
                [(number,) for number in numbers],
            )
            forget_parts(connection, numbers)
        return numbers


def abandoned(database: Database, numbers: Iterable[int]) -> bool:
    """Say whether any of these versions was left behind by a rollback."""
    ranges = database.rows("SELECT target, version FROM rollbacks")
    return any(row["target"] < number < row["version"] for number in numbers for row in ranges)

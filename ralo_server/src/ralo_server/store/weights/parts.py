"""The tables of parts: the files of published versions by their sha256, which workers download,
and which of them an object store has, too.

A file that is the same in several versions is one part.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import attrs

from ralo_core.data import WeightFile, WeightVersion
from ralo_server.store.database import Database
from ralo_server.store.values import get_value, put_value


@attrs.frozen(kw_only=True)
class Part:
    """`file` lies at `path`; `stored` says whether the object store has it, too."""

    file: WeightFile
    path: Path
    stored: bool


@attrs.frozen
class Parts:
    """Parts of the versions whose folders lie in `folder`."""

    database: Database
    folder: Path

    def find(self, sha256: str) -> Part | None:
        """Return the part of this digest, None if no version that is kept has it."""
        rows = self.database.rows(
            """SELECT parts.sha256, version, name, size, stored_parts.sha256 AS stored
               FROM parts LEFT JOIN stored_parts ON stored_parts.sha256 = parts.sha256
               WHERE parts.sha256 = ? ORDER BY version DESC LIMIT 1""",
            sha256,
        )
        return self._part(rows[0]) if rows else None

    def unstored(self) -> list[Part]:
        """Return the parts that the object store lacks, those of the newest version first."""
        rows = self.database.rows(
            """SELECT sha256, MAX(version) AS version, name, size, NULL AS stored FROM parts
               WHERE sha256 NOT IN (SELECT sha256 FROM stored_parts)
               GROUP BY sha256 ORDER BY version DESC, size"""
        )
        return [self._part(row) for row in rows]

    def superfluous(self) -> list[str]:
        """Return the digests that the object store has and no version that is kept needs."""
        rows = self.database.rows(
            "SELECT sha256 FROM stored_parts WHERE sha256 NOT IN (SELECT sha256 FROM parts)"
        )
        return [row["sha256"] for row in rows]

    def aim_at(self, url: str) -> None:
        """From now on the object store is `url`; what another one has does not count."""
        with self.database.write() as connection:
            if get_value(self.database, "object_store", url) != url:
                connection.execute("DELETE FROM stored_parts")
            put_value(connection, "object_store", url)

    def note_stored(self, sha256: str) -> None:
        """Record that the object store has a part."""
        with self.database.write() as connection:
            connection.execute("INSERT OR IGNORE INTO stored_parts VALUES (?)", (sha256,))

    def note_removed(self, sha256: str) -> None:
        """Record that the object store no longer has a part."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM stored_parts WHERE sha256 = ?", (sha256,))

    def _part(self, row: sqlite3.Row) -> Part:
        file = WeightFile(name=row["name"], size=row["size"], sha256=row["sha256"])
        path = version_folder(self.folder, row["version"]) / file.name
        return Part(file=file, path=path, stored=row["stored"] is not None)


def version_folder(folder: Path, number: int) -> Path:
    """Return where the files of version `number` lie, below the `folder` of all versions."""
    return folder / f"v{number:06d}"


def add_parts(connection: sqlite3.Connection, version: WeightVersion) -> None:
    """Let the files and deltas of `version` be found."""
    files = (*version.files, *(delta.file for delta in version.deltas))
    connection.executemany(
        "INSERT OR IGNORE INTO parts (sha256, version, name, size) VALUES (?, ?, ?, ?)",
        [(file.sha256, version.number, file.name, file.size) for file in files],
    )


def forget_parts(connection: sqlite3.Connection, versions: Iterable[int]) -> None:
    """No longer find the files of these versions."""
    connection.executemany(
        "DELETE FROM parts WHERE version = ?", [(number,) for number in versions]
    )

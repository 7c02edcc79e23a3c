"""The table of weight versions: which were published, and which of them are still on disk.

A version is added in the transaction of the step that made it. The folder of version N is
``weights/vNNNNNN``.
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
from ralo_server.store.lifecycle import in_states
from ralo_server.store.states import VERSIONS, EvaluationState, VersionState
from ralo_server.store.weights.parts import add_parts, forget_parts, version_folder

_PUBLISHED = in_states(VersionState.PUBLISHED)
_SUPERFLUOUS = f"""SELECT number FROM versions WHERE {_PUBLISHED} AND number > 0
    AND number <= (SELECT MAX(number) FROM versions) - ?
    AND (? = 0 OR number % ? != 0)
    AND number NOT IN (SELECT version FROM evaluations WHERE {in_states(EvaluationState.OPEN)})
    AND number NOT IN (SELECT version FROM version_holds WHERE expires > ?)"""  # noqa: S608


@attrs.frozen(kw_only=True)
class Origin:
    """Where the optimizer state of a version comes from: the folder of a checkpoint (``""``: the
    model and a fresh optimizer), and the steps to be taken again after it, in order."""

    checkpoint: str = ""
    replay: tuple[int, ...] = ()

    def after(self, step: int) -> "Origin":
        """Return the origin of the version that `step` makes of this one's."""
        return attrs.evolve(self, replay=(*self.replay, step))


@attrs.frozen(kw_only=True)
class KeptVersion:
    """A version whose files are there, its step, and the origin of its optimizer state."""

    version: WeightVersion
    step: int
    origin: Origin


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
            f"SELECT body FROM versions WHERE number = ? AND {_PUBLISHED}",  # noqa: S608
            number,
        )
        return None if body is None else structure(json.loads(body), WeightVersion)

    def published(self) -> list[int]:
        """Return the numbers of the versions that are not pruned."""
        rows = self.database.rows(f"SELECT number FROM versions WHERE {_PUBLISHED}")  # noqa: S608
        return [int(row["number"]) for row in rows]

    def kept(self) -> list[KeptVersion]:
        """Return every version that is not pruned, oldest first."""
        rows = self.database.rows(
            f"""SELECT body, step, optimizer, replay FROM versions
                WHERE {_PUBLISHED} ORDER BY number"""  # noqa: S608
        )
        return [
            KeptVersion(
                version=structure(json.loads(row["body"]), WeightVersion),
                step=int(row["step"]),
                origin=_origin(row),
            )
            for row in rows
        ]

    def newest_origin(self) -> Origin:
        """Return where the state of the newest version comes from; before the first: the model."""
        rows = self.database.rows(
            "SELECT optimizer, replay FROM versions ORDER BY number DESC LIMIT 1"
        )
        return _origin(rows[0]) if rows else Origin()

    def add(
        self,
        connection: sqlite3.Connection,
        version: WeightVersion,
        step: int,
        origin: Origin | None = None,
    ) -> None:
        """Publish inside the caller's transaction."""
        origin = origin or Origin()
        VERSIONS.insert(
            connection,
            VersionState.PUBLISHED,
            number=version.number,
            step=step,
            body=json.dumps(unstructure(version)),
            optimizer=origin.checkpoint,
            replay=json.dumps(origin.replay),
        )
        add_parts(connection, version)

    def rebase(self, number: int, origin: Origin, checkpoint: str) -> None:
        """Let version `number` of `origin` begin at `checkpoint`, which holds its state, and the
        later ones that are restored through it."""
        length = len(origin.replay)
        with self.database.write() as connection:
            for row in connection.execute(
                f"""SELECT number, replay FROM versions
                    WHERE number >= ? AND optimizer = ? AND {_PUBLISHED}""",  # noqa: S608
                (number, origin.checkpoint),
            ).fetchall():
                replay = json.loads(row["replay"])
                if tuple(replay[:length]) == origin.replay:
                    connection.execute(
                        "UPDATE versions SET optimizer = ?, replay = ? WHERE number = ?",
                        (checkpoint, json.dumps(replay[length:]), row["number"]),
                    )

    def prune(self, keep_last: int, keep_every: int = 0) -> list[int]:
        """Mark all but the first, the last `keep_last`, every `keep_every`-th (0: none), those to
        be evaluated and those that a worker is fetching as pruned; return their numbers, so that
        the caller removes the files."""
        with self.database.write() as connection:
            rows = connection.execute(
                _SUPERFLUOUS, (keep_last, keep_every, keep_every, self.clock())
            ).fetchall()
            numbers = [int(row["number"]) for row in rows]
            mark_pruned(connection, numbers)
        return numbers


def _origin(row: sqlite3.Row) -> Origin:
    return Origin(checkpoint=row["optimizer"], replay=tuple(json.loads(row["replay"])))


def abandoned(database: Database, numbers: Iterable[int]) -> list[int]:
    """Return those of these versions that were left behind by a rollback."""
    ranges = database.rows("SELECT target, version FROM rollbacks")
    return [
        number
        for number in numbers
        if any(row["target"] < number < row["version"] for row in ranges)
    ]


def mark_pruned(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Count versions as pruned; the caller removes their files."""
    for number in numbers:
        VERSIONS.move(connection, VersionState.PRUNED, "number = :number", number=number)
        forget_parts(connection, [number])


def known_optimizers(database: Database) -> set[str]:
    """Return the checkpoints that the versions which are kept are restored from."""
    rows = database.rows(f"SELECT DISTINCT optimizer FROM versions WHERE {_PUBLISHED}")  # noqa: S608
    return {row["optimizer"] for row in rows} - {""}

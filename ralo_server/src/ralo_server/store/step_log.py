"""The redo log: what every committed step did, so that it can be taken again from a checkpoint.

Neighbours: `steps` writes a step's part in the transaction that commits it, the learner reads it
when it restores a state. The values are the files of the gradients that the step applied; they
stay as long as a kept version is restored through them, and `learner.retention` removes them then.
"""

import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import attrs

from ralo_core.errors import RaloError
from ralo_core.files.digests import digest_of, identity_of
from ralo_server.store.database import Database

_NEEDED = """SELECT DISTINCT g.blob FROM versions v, json_each(v.replay) r
    JOIN gradients g ON g.step = r.value
    WHERE v.state = 'published' AND g.state = 'applied'"""


@attrs.frozen(kw_only=True)
class StepLog:
    """All that a step depends on but the state before it: its gradients as (file, weight that
    the aggregator gave), the learning rate, and the factor that clipping came to."""

    step: int
    weighted_gradients: Sequence[tuple[Path, float]]
    learning_rate: float
    clip: float


@attrs.frozen
class RedoLog:
    """The log of a run; the files of gradients lie in `folder`."""

    database: Database
    folder: Path

    def read(self, step: int) -> StepLog:
        """Return what committed step `step` did; raises `RaloError` if a file of it is gone."""
        (row,) = self.database.rows("SELECT learning_rate, clip FROM steps WHERE step = ?", step)
        fault = self.lost([step])
        if fault:
            msg = (
                f"{fault}: without it step {step} cannot be taken again; put the file back, or go "
                "back to an older version with ralo rollback"
            )
            raise RaloError(msg)
        return StepLog(
            step=step,
            weighted_gradients=self._weighted_gradients(step),
            learning_rate=row[0],
            clip=row[1],
        )

    def lost(self, steps: Sequence[int]) -> str:
        """Return which gradient of `steps` is not there with all its bytes, ``""`` if all are."""
        for step in steps:
            for row in self._rows(step):
                path = self.folder / row["blob"]
                if not path.is_file() or path.stat().st_size != row["size"]:
                    return f"gradient {row['blob']} of step {step} is gone or cut off"
        return ""

    def size(self, steps: Sequence[int]) -> int:
        """Return the bytes of the gradients of `steps`."""
        return sum(row["size"] for step in steps for row in self._rows(step))

    def damage(self, steps: Sequence[int]) -> str:
        """Return which gradient of `steps` has other bytes than were declared, ``""`` if none
        has; every file is read."""
        for row in (row for step in steps for row in self._rows(step)):
            if _identity(self.folder / row["blob"], row["chunk_bytes"]) != row["identity"]:
                return (
                    f"gradient {row['blob']} of a committed step has another digest than declared"
                )
        return ""

    def paths(self, steps: Sequence[int]) -> list[Path]:
        """Return the files of the gradients of `steps`."""
        return [path for step in steps for path, _ in self._weighted_gradients(step)]

    def _weighted_gradients(self, step: int) -> list[tuple[Path, float]]:
        return [(self.folder / row["blob"], float(row["share"])) for row in self._rows(step)]

    def _rows(self, step: int) -> list[sqlite3.Row]:
        return self.database.rows(
            """SELECT blob, size, chunk_bytes, identity, share FROM gradients
               WHERE step = ? AND state = 'applied' ORDER BY number""",
            step,
        )


def _identity(path: Path, chunk_bytes: int) -> str:
    """Return `GradientUpload.identity` of a file."""
    with path.open("rb") as file:
        chunks = iter(partial(file.read, chunk_bytes), b"")
        return identity_of(digest_of([chunk]) for chunk in chunks)


def log_step(connection: sqlite3.Connection, redo: StepLog) -> None:
    """Log a step inside the transaction that commits it; its gradients become ``applied``."""
    connection.execute(
        "UPDATE steps SET learning_rate = ?, clip = ? WHERE step = ?",
        (redo.learning_rate, redo.clip, redo.step),
    )
    connection.executemany(
        "UPDATE gradients SET state = 'applied', step = ?, share = ? WHERE blob = ?",
        [(redo.step, float(weight), path.name) for path, weight in redo.weighted_gradients],
    )


def logged_blobs(database: Database) -> set[str]:
    """Return the gradient files without which a kept version could not be restored."""
    return {row["blob"] for row in database.rows(_NEEDED)}

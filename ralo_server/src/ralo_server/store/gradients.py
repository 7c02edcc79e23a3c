"""The table of gradients: received in chunks, checked, queued for a step, consumed by one.

The values are blobs. They stay after the step that applied them, as long as a kept version is
restored through that step: then they are part of the step log.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ralo_core.data import GradientUpload
from ralo_core.protocols import GradientInfo
from ralo_server.store import batches
from ralo_server.store.database import Database
from ralo_server.store.lifecycle import in_states, not_in_states
from ralo_server.store.states import BATCHES, GRADIENTS, BatchState, GradientState, VersionState
from ralo_server.store.values import count

COMMITTED = (GradientState.PENDING, GradientState.APPLIED, GradientState.LEFT_OUT)
"""The states of an upload that was accepted: what is sent again is a duplicate."""

_BATCH_LEASED = f"""EXISTS (SELECT 1 FROM {BATCHES.table} b WHERE b.id = batch_id
    AND {in_states(BatchState.LEASED, column="b.state")})"""  # noqa: S608
_RECEIVING = in_states(GradientState.RECEIVING)
_PENDING = f"SELECT * FROM gradients WHERE {in_states(GradientState.PENDING)} ORDER BY number"  # noqa: S608
_LEFT_OUT = f"""SELECT g.batch_id FROM gradients g JOIN batches b ON b.id = g.batch_id
    WHERE {in_states(GradientState.LEFT_OUT, column="g.state")} AND b.step IS NULL"""  # noqa: S608
_LOGGED = f"""SELECT DISTINCT g.blob FROM versions v, json_each(v.replay) r
    JOIN gradients g ON g.step = r.value
    WHERE {in_states(VersionState.PUBLISHED, column="v.state")}
    AND {in_states(GradientState.APPLIED, column="g.state")}"""  # noqa: S608


@attrs.frozen(kw_only=True)
class PendingGradient:
    """A committed upload: what is known of it, its batch, its blob and its loss metrics."""

    info: GradientInfo
    batch_id: str
    path: Path
    metrics: Mapping[str, float]


@attrs.frozen(kw_only=True)
class Upload:
    """A declared upload: its blob, its state and, once refused, the reason and the full story."""

    upload_id: str
    batch_id: str
    path: Path
    state: str
    size: int
    chunk_bytes: int
    identity: str
    base_version: int
    reason: str
    detail: str

    def extent(self, index: int) -> tuple[int, int]:
        """Return offset and length of chunk `index`; the length is 0 where there is none."""
        offset = index * self.chunk_bytes
        return offset, max(0, min(self.chunk_bytes, self.size - offset))


@attrs.frozen
class Gradients:
    """Gradients of a run; blobs lie in `folder`."""

    database: Database
    folder: Path

    def find(self, upload_id: str) -> Upload | None:
        """Return a declared upload, or None."""
        rows = self.database.rows("SELECT * FROM gradients WHERE upload_id = ?", upload_id)
        if not rows:
            return None
        names = [field.name for field in attrs.fields(Upload) if field.name != "path"]
        fields = {name: rows[0][name] for name in names}
        return Upload(path=self.folder / blob_name(upload_id), **fields)

    def pending(self) -> list[PendingGradient]:
        """Return what waits for a step, oldest first."""
        return [self._pending(row) for row in self.database.rows(_PENDING)]

    def left_out_batches(self) -> list[str]:
        """Return batches whose gradient was left out without a step, and no step has counted."""
        return [row["batch_id"] for row in self.database.rows(_LEFT_OUT)]

    def leave_out(self, gradients: Sequence[PendingGradient]) -> None:
        """Consume gradients without a step; the next step counts their batches."""
        with self.database.write() as connection:
            leave_out(connection, gradients)

    def accepted_norms(self, window: int) -> list[float]:
        """Return the norms of the last `window` accepted gradients."""
        rows = self.database.rows(
            "SELECT norm FROM gradients WHERE norm IS NOT NULL ORDER BY number DESC LIMIT ?", window
        )
        return [float(row["norm"]) for row in rows]

    def consumed_blobs(self) -> list[str]:
        """Return the blobs of gradients that nobody will read again, as far as they are there."""
        there = [path.name for path in self.folder.glob("*.safetensors")]
        marks = ",".join("?" * len(there))
        needed = not_in_states(GradientState.RECEIVING, GradientState.PENDING)
        rows = self.database.rows(
            f"SELECT blob FROM gradients WHERE {needed} AND blob IN ({marks})",  # noqa: S608
            *there,
        )
        logged = logged_blobs(self.database)
        return [row["blob"] for row in rows if row["blob"] not in logged]

    def without_lease(self) -> bool:
        """Say whether anything is being received whose batch is not leased any more."""
        query = f"SELECT 1 FROM gradients WHERE {_RECEIVING} AND NOT {_BATCH_LEASED}"  # noqa: S608
        return bool(self.database.value(query))

    def receives(self, upload_id: str) -> bool:
        """Say whether an upload still goes on: it is being received, under a lease that holds."""
        return bool(
            self.database.value(
                f"""SELECT 1 FROM gradients WHERE upload_id = ? AND {_RECEIVING}
                    AND {_BATCH_LEASED}""",  # noqa: S608
                upload_id,
            )
        )

    def _pending(self, row: Any) -> PendingGradient:
        return PendingGradient(
            info=GradientInfo(
                upload_id=row["upload_id"],
                base_version=row["base_version"],
                weight=row["weight"],
            ),
            batch_id=row["batch_id"],
            path=self.folder / row["blob"],
            metrics=json.loads(row["metrics"]),
        )


def blob_name(upload_id: str) -> str:
    """Return the name of the file that the chunks of an upload are written into."""
    return f"{upload_id}.safetensors"


def logged_blobs(database: Database) -> set[str]:
    """Return the gradient files without which a kept version could not be restored."""
    return {row["blob"] for row in database.rows(_LOGGED)}


def declare(connection: sqlite3.Connection, upload: GradientUpload) -> None:
    """Add the row of an upload that is going to be received."""
    GRADIENTS.insert(
        connection,
        GradientState.RECEIVING,
        upload_id=upload.upload_id,
        batch_id=upload.batch_id,
        blob=blob_name(upload.upload_id),
        base_version=upload.base_version,
        weight=upload.weight,
        metrics=json.dumps(dict(upload.metrics)),
        size=upload.size,
        chunk_bytes=upload.chunk_bytes,
        identity=upload.identity,
    )


def accept(connection: sqlite3.Connection, upload: Upload, norm: float) -> None:
    """Queue a received upload that passed its checks, and close its batch."""
    GRADIENTS.move(
        connection,
        GradientState.PENDING,
        "upload_id = :upload",
        sets="norm = :norm",
        upload=upload.upload_id,
        norm=norm,
    )
    batches.finish(connection, upload.batch_id)


def refuse(connection: sqlite3.Connection, upload_id: str, reason: str, detail: str) -> bool:
    """End an upload that failed its checks, and count it; False if it had ended before."""
    refused = GRADIENTS.move(
        connection,
        GradientState.REFUSED,
        "upload_id = :upload",
        sets="reason = :reason, detail = :detail",
        upload=upload_id,
        reason=reason,
        detail=detail,
    )
    count(connection, f"gradients_refused_{reason}", refused)
    return bool(refused)


def abandon(connection: sqlite3.Connection) -> None:
    """End every upload whose batch is not leased any more."""
    GRADIENTS.move(connection, GradientState.ABANDONED, f"NOT {_BATCH_LEASED}")


def apply(connection: sqlite3.Connection, step: int, terms: Iterable[tuple[Path, float]]) -> None:
    """Record that `step` applied these gradients, (file, weight of the aggregator)."""
    for path, weight in terms:
        GRADIENTS.move(
            connection,
            GradientState.APPLIED,
            "blob = :blob",
            sets="step = :step, share = :share",
            blob=path.name,
            step=step,
            share=float(weight),
        )


def leave_out(connection: sqlite3.Connection, gradients: Iterable[PendingGradient]) -> None:
    """Consume gradients that the aggregator gave no weight."""
    for gradient in gradients:
        GRADIENTS.move(
            connection,
            GradientState.LEFT_OUT,
            "upload_id = :upload",
            upload=gradient.info.upload_id,
        )


def discard(connection: sqlite3.Connection, upload_id: str) -> None:
    """Discard a pending gradient; the trees of its batch wait for a trainer again. The blob is the
    caller's."""
    (row,) = connection.execute(
        "SELECT batch_id FROM gradients WHERE upload_id = ?", (upload_id,)
    ).fetchall()
    GRADIENTS.move(connection, GradientState.DISCARDED, "upload_id = :upload", upload=upload_id)
    batches.train_again(connection, row["batch_id"])

"""The uploads of gradients: receiving -> pending, or refused, or abandoned with their batch.

Neighbours: the web side declares, receives and commits here; `gradients` is the queue of what
was committed. A row and its chunks' digests are there from the declaration on, the blob is the
file that the chunks are written into; a chunk counts once its row says received.
"""

import json
import sqlite3
from pathlib import Path

import attrs

from ralo_core.data import GradientUpload
from ralo_server.store.database import Database
from ralo_server.store.leases import give_back
from ralo_server.store.values import count
from ralo_server.store.weights.versions import abandoned

RECEIVING, PENDING, REFUSED, ABANDONED, DISCARDED = (
    "receiving", "pending", "refused", "abandoned", "discarded"
)  # fmt: skip
COMMITTED = (PENDING, "applied", "left_out")
"""The states of an upload that was accepted: what is sent again is a duplicate."""
DECLARED, LOST, OTHER, FULL, BUSY = "declared", "lost", "other", "full", "busy"
STORED, DUPLICATE = "stored", "duplicate"

_BATCH_LEASED = "EXISTS (SELECT 1 FROM batches b WHERE b.id = batch_id AND b.state = 'leased')"


@attrs.frozen(kw_only=True)
class Limits:
    """How many uploads may be received at once, and how many gradients may wait for a step."""

    receiving: int
    pending: int


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
class Uploads:
    """Uploads of a run; their blobs lie in `folder`."""

    database: Database
    folder: Path

    def find(self, upload_id: str) -> Upload | None:
        """Return a declared upload, or None."""
        rows = self.database.rows("SELECT * FROM gradients WHERE upload_id = ?", upload_id)
        if not rows:
            return None
        names = [field.name for field in attrs.fields(Upload) if field.name != "path"]
        facts = {name: rows[0][name] for name in names}
        return Upload(path=self.folder / f"{upload_id}.safetensors", **facts)

    def batch_leased(self, batch_id: str) -> bool:
        """Say whether the lease that an upload quotes still holds."""
        state = self.database.value("SELECT state FROM batches WHERE id = ?", batch_id)
        return bool(state == "leased")

    def declare(self, upload: GradientUpload, limits: Limits) -> str:
        """Take note of an upload and make its empty file; again, it has no effect.

        Return `DECLARED`, `LOST` (the batch's lease), `OTHER` (the id stands for other bytes),
        `FULL` or `BUSY`. The limits hold back new uploads only.
        """
        with self.database.write() as connection:
            known = self.find(upload.upload_id)
            if known is not None:
                return _still(known, upload)
            if not self.batch_leased(upload.batch_id):
                return LOST
            receiving = self._in_state(RECEIVING)
            # What is being received will wait for a step, too.
            if receiving + self._in_state(PENDING) >= limits.pending:
                return FULL
            if receiving >= limits.receiving:
                return BUSY
            # Inside the transaction, so that a sweep cannot come between row and file.
            path = self.folder / f"{upload.upload_id}.safetensors"
            path.touch()
            _insert(connection, upload, path.name)
        return DECLARED

    def missing(self, upload_id: str) -> list[int]:
        """Return the chunks that have not been received."""
        rows = self.database.rows(
            "SELECT number FROM gradient_chunks WHERE upload_id = ? AND NOT received", upload_id
        )
        return [int(row["number"]) for row in rows]

    def chunk(self, upload_id: str, index: int) -> tuple[str, bool] | None:
        """Return the declared digest of a chunk, and whether it has been received; None once the
        upload has ended."""
        rows = self.database.rows(
            "SELECT digest, received FROM gradient_chunks WHERE upload_id = ? AND number = ?",
            upload_id,
            index,
        )
        return (rows[0]["digest"], bool(rows[0]["received"])) if rows else None

    def receive(self, upload_id: str, index: int) -> bool:
        """Record a chunk that is on the disk, whole; False if the upload has ended meanwhile."""
        with self.database.write() as connection:
            if not self._alive(upload_id):
                return False
            connection.execute(
                "UPDATE gradient_chunks SET received = 1 WHERE upload_id = ? AND number = ?",
                (upload_id, index),
            )
        return True

    def commit(self, upload_id: str, norm: float) -> str:
        """Queue a received and checked upload; return `STORED`, `DUPLICATE` or `LOST`."""
        with self.database.write() as connection:
            upload = self.find(upload_id)
            if upload is not None and upload.state in COMMITTED:
                return DUPLICATE
            if upload is None or not self._alive(upload_id):
                return LOST
            if abandoned(self.database, {upload.base_version}):
                give_back(connection, upload.batch_id)
                return LOST
            connection.execute(
                "UPDATE gradients SET state = 'pending', norm = ? WHERE upload_id = ?",
                (norm, upload_id),
            )
            connection.execute("UPDATE batches SET state = 'done' WHERE id = ?", (upload.batch_id,))
            trained = connection.execute(
                "UPDATE trees SET state = 'trained' WHERE batch_id = ?", (upload.batch_id,)
            ).rowcount
            count(connection, "trees_trained", trained)
        return STORED

    def refuse(self, upload_id: str, reason: str, detail: str) -> bool:
        """End an upload that failed its checks, and count it; False if it had ended before."""
        with self.database.write() as connection:
            refused = connection.execute(
                """UPDATE gradients SET state = 'refused', reason = ?, detail = ?
                   WHERE upload_id = ? AND state = 'receiving'""",
                (reason, detail, upload_id),
            ).rowcount
            count(connection, f"gradients_refused_{reason}", refused)
        self.sweep()
        return bool(refused)

    def count_refused_declaration(self, upload_id: str) -> None:
        """Count a declaration that no row was made for; sent again, it counts no more."""
        with self.database.write() as connection:
            new = connection.execute(
                "INSERT OR IGNORE INTO refused_declarations VALUES (?)", (upload_id,)
            ).rowcount
            count(connection, "gradients_refused_declaration", new)

    def accepted_norms(self, window: int) -> list[float]:
        """Return the norms of the last `window` accepted gradients."""
        rows = self.database.rows(
            "SELECT norm FROM gradients WHERE norm IS NOT NULL ORDER BY number DESC LIMIT ?", window
        )
        return [float(row["norm"]) for row in rows]

    def sweep(self) -> None:
        """Abandon what is received without a lease; remove the files of what has ended."""
        lost = f"state = 'receiving' AND NOT {_BATCH_LEASED}"
        if self.database.value(f"SELECT 1 FROM gradients WHERE {lost}"):  # noqa: S608
            with self.database.write() as connection:
                connection.execute(f"UPDATE gradients SET state = 'abandoned' WHERE {lost}")  # noqa: S608
        ended = self.database.rows(
            """SELECT DISTINCT upload_id, state, blob FROM gradients JOIN gradient_chunks
               USING (upload_id) WHERE state NOT IN ('receiving', 'pending')"""
        )
        for row in ended:
            if row["state"] in (REFUSED, ABANDONED):
                (self.folder / row["blob"]).unlink(missing_ok=True)
            with self.database.write() as connection:
                connection.execute(
                    "DELETE FROM gradient_chunks WHERE upload_id = ?", (row["upload_id"],)
                )

    def _alive(self, upload_id: str) -> bool:
        return bool(
            self.database.value(
                f"""SELECT 1 FROM gradients WHERE upload_id = ? AND state = 'receiving'
                    AND {_BATCH_LEASED}""",  # noqa: S608
                upload_id,
            )
        )

    def _in_state(self, state: str) -> int:
        return int(self.database.value("SELECT COUNT(*) FROM gradients WHERE state = ?", state))


def _still(known: Upload, upload: GradientUpload) -> str:
    """Return what a second declaration of a known upload comes to."""
    same = (known.batch_id, known.size, known.chunk_bytes, known.identity)
    if same != (upload.batch_id, upload.size, upload.chunk_bytes, upload.identity):
        return OTHER
    return LOST if known.state in (ABANDONED, DISCARDED) else DECLARED


def _insert(connection: sqlite3.Connection, upload: GradientUpload, blob: str) -> None:
    connection.execute(
        """INSERT INTO gradients (upload_id, batch_id, blob, base_version, weight, metrics, state,
             size, chunk_bytes, identity) VALUES (?, ?, ?, ?, ?, ?, 'receiving', ?, ?, ?)""",
        (
            upload.upload_id,
            upload.batch_id,
            blob,
            upload.base_version,
            upload.weight,
            json.dumps(dict(upload.metrics)),
            upload.size,
            upload.chunk_bytes,
            upload.identity,
        ),
    )
    connection.executemany(
        "INSERT INTO gradient_chunks (upload_id, number, digest) VALUES (?, ?, ?)",
        [(upload.upload_id, number, digest) for number, digest in enumerate(upload.chunk_digests)],
    )

"""Uploads of gradients in chunks: declared, received, then accepted or refused.

A row and its chunks' digests are there from the declaration on; the blob is the file that the
chunks are written into. A chunk counts once its row says received. This module owns the tables of
chunks and of refused declarations; `gradients` owns that of the uploads themselves.
"""

import sqlite3

import attrs

from ralo_core.data import GradientUpload
from ralo_server.store import batches, gradients
from ralo_server.store.database import Database
from ralo_server.store.gradients import COMMITTED, Gradients, Upload
from ralo_server.store.lease_terms import WhichLeases
from ralo_server.store.lifecycle import not_in_states
from ralo_server.store.states import GRADIENTS, GradientState
from ralo_server.store.values import count
from ralo_server.store.weights.versions import abandoned

DECLARED, LOST, OTHER, FULL, BUSY = "declared", "lost", "other", "full", "busy"
STORED, DUPLICATE = "stored", "duplicate"

_ENDED = f"""SELECT DISTINCT upload_id, state, blob FROM gradients JOIN gradient_chunks
    USING (upload_id)
    WHERE {not_in_states(GradientState.RECEIVING, GradientState.PENDING)}"""  # noqa: S608


@attrs.frozen(kw_only=True)
class Limits:
    """How many uploads may be received at once, and how many gradients may wait for a step."""

    receiving: int
    pending: int


@attrs.frozen
class Uploads:
    """Uploads of a run, which become its `gradients`."""

    database: Database
    gradients: Gradients

    def find(self, upload_id: str) -> Upload | None:
        """Return a declared upload, or None."""
        return self.gradients.find(upload_id)

    def batch_leased(self, batch_id: str) -> bool:
        """Say whether the lease that an upload quotes still holds."""
        return batches.leased(self.database, batch_id)

    def declare(self, upload: GradientUpload, limits: Limits) -> str:
        """Record an upload and make its empty file; a second time it has no effect.

        Return `DECLARED`, `LOST` (the batch's lease), `OTHER` (the id stands for other bytes),
        `FULL` or `BUSY`. The limits hold back new uploads only.
        """
        with self.database.write() as connection:
            known = self.find(upload.upload_id)
            if known is not None:
                return _again(known, upload)
            if not self.batch_leased(upload.batch_id):
                return LOST
            receiving = GRADIENTS.count(self.database, GradientState.RECEIVING)
            # What is being received will wait for a step, too.
            pending = GRADIENTS.count(self.database, GradientState.PENDING)
            if receiving + pending >= limits.pending:
                return FULL
            if receiving >= limits.receiving:
                return BUSY
            # Inside the transaction, so that no expiry can come between row and file.
            (self.gradients.folder / gradients.blob_name(upload.upload_id)).touch()
            gradients.declare(connection, upload)
            _add_chunks(connection, upload)
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
            if not self.gradients.receives(upload_id):
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
            if upload is None or not self.gradients.receives(upload_id):
                return LOST
            if abandoned(self.database, {upload.base_version}):
                batches.take_back(connection, WhichLeases.one(upload.batch_id))
                return LOST
            gradients.accept(connection, upload, norm)
        return STORED

    def refuse(self, upload_id: str, reason: str, detail: str) -> bool:
        """End an upload that failed its checks, and count it; False if it had ended before."""
        with self.database.write() as connection:
            refused = gradients.refuse(connection, upload_id, reason, detail)
        self.remove_ended()
        return refused

    def count_refused_declaration(self, upload_id: str) -> None:
        """Count a declaration that no row was made for; sent again, it counts no more."""
        with self.database.write() as connection:
            new = connection.execute(
                "INSERT OR IGNORE INTO refused_declarations VALUES (?)", (upload_id,)
            ).rowcount
            count(connection, "gradients_refused_declaration", new)

    def remove_ended(self) -> None:
        """Remove the files of uploads that came to nothing, and the chunks of all that ended."""
        for row in self.database.rows(_ENDED):
            # The file of an accepted one is what a step reads.
            if row["state"] in (GradientState.REFUSED, GradientState.ABANDONED):
                (self.gradients.folder / row["blob"]).unlink(missing_ok=True)
            with self.database.write() as connection:
                connection.execute(
                    "DELETE FROM gradient_chunks WHERE upload_id = ?", (row["upload_id"],)
                )


def _again(known: Upload, upload: GradientUpload) -> str:
    """Return the outcome of declaring a known upload a second time."""
    same = (known.batch_id, known.size, known.chunk_bytes, known.identity)
    if same != (upload.batch_id, upload.size, upload.chunk_bytes, upload.identity):
        return OTHER
    ended = (GradientState.ABANDONED, GradientState.DISCARDED)
    return LOST if known.state in ended else DECLARED


def _add_chunks(connection: sqlite3.Connection, upload: GradientUpload) -> None:
    connection.executemany(
        "INSERT INTO gradient_chunks (upload_id, number, digest) VALUES (?, ?, ?)",
        [(upload.upload_id, number, digest) for number, digest in enumerate(upload.chunk_digests)],
    )

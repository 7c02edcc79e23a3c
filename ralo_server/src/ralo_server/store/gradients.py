"""The gradient queue: uploads that were checked at the door and wait for a step.

Neighbours: the web side adds, the learner takes and, in `steps`, marks them applied. The
values are blobs; they are deleted after the step that used them is committed.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import attrs

from ralo_core.data import GradientUpload
from ralo_core.protocols import GradientFacts
from ralo_server.store.database import Database
from ralo_server.store.facts import count
from ralo_server.store.leases import give_back
from ralo_server.store.versions import abandoned

STORED, DUPLICATE, LOST = "stored", "duplicate", "lost"


@attrs.frozen(kw_only=True)
class PendingGradient:
    """A committed upload: its facts, the batch it is of, its blob and its loss metrics."""

    facts: GradientFacts
    batch_id: str
    path: Path
    metrics: Mapping[str, float]


@attrs.frozen
class Gradients:
    """Gradients of a run; blobs lie in `folder`."""

    database: Database
    folder: Path

    def part(self, upload_id: str) -> Path:
        """Return where an upload is being received."""
        return self.folder / f"{upload_id}.part"

    def known(self, upload_id: str) -> bool:
        """Say whether this upload was committed before."""
        return bool(self.database.value("SELECT 1 FROM gradients WHERE upload_id = ?", upload_id))

    def batch_alive(self, batch_id: str) -> bool:
        """Say whether the lease that an upload quotes still holds."""
        state = self.database.value("SELECT state FROM batches WHERE id = ?", batch_id)
        return bool(state == "leased")

    def add(self, upload: GradientUpload) -> str:
        """Commit a received and checked upload; return `STORED`, `DUPLICATE` or `LOST`."""
        with self.database.write() as connection:
            if self.known(upload.upload_id):
                return DUPLICATE
            if not self.batch_alive(upload.batch_id):
                return LOST
            if abandoned(self.database, {upload.base_version}):
                give_back(connection, upload.batch_id)
                return LOST
            blob = f"{upload.upload_id}.safetensors"
            self.part(upload.upload_id).rename(self.folder / blob)
            connection.execute(
                """INSERT INTO gradients
                   (upload_id, batch_id, blob, base_version, weight, metrics, state)
                   VALUES (?, ?, ?, ?, ?, ?, 'pending')""",
                (
                    upload.upload_id,
                    upload.batch_id,
                    blob,
                    upload.base_version,
                    upload.weight,
                    json.dumps(dict(upload.metrics)),
                ),
            )
            connection.execute("UPDATE batches SET state = 'done' WHERE id = ?", (upload.batch_id,))
            trained = connection.execute(
                "UPDATE trees SET state = 'trained' WHERE batch_id = ?", (upload.batch_id,)
            ).rowcount
            count(connection, "trees_trained", trained)
        return STORED

    def refuse(self, upload_id: str) -> None:
        """Forget an upload that failed its checks, and count it."""
        self.part(upload_id).unlink(missing_ok=True)
        with self.database.write() as connection:
            count(connection, "gradients_refused")

    def pending(self) -> list[PendingGradient]:
        """Return what waits for a step, oldest first."""
        rows = self.database.rows("SELECT * FROM gradients WHERE state = 'pending' ORDER BY number")
        return [
            PendingGradient(
                facts=GradientFacts(
                    upload_id=row["upload_id"],
                    base_version=row["base_version"],
                    weight=row["weight"],
                ),
                batch_id=row["batch_id"],
                path=self.folder / row["blob"],
                metrics=json.loads(row["metrics"]),
            )
            for row in rows
        ]

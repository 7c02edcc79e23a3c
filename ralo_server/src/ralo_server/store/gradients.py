"""The gradient queue: uploads that were checked at the door and wait for a step.

Neighbours: `uploads` adds, the learner takes and, in `steps`, marks them applied. The values
are blobs; they are deleted after the step that used them is committed.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import attrs

from ralo_core.protocols import GradientInfo
from ralo_server.store.database import Database


@attrs.frozen(kw_only=True)
class PendingGradient:
    """A committed upload: its facts, the batch it is of, its blob and its loss metrics."""

    facts: GradientInfo
    batch_id: str
    path: Path
    metrics: Mapping[str, float]


@attrs.frozen
class Gradients:
    """Gradients of a run; blobs lie in `folder`."""

    database: Database
    folder: Path

    def pending(self) -> list[PendingGradient]:
        """Return what waits for a step, oldest first."""
        rows = self.database.rows("SELECT * FROM gradients WHERE state = 'pending' ORDER BY number")
        return [
            PendingGradient(
                facts=GradientInfo(
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

"""The records that trackers are given, in one order: steps, rollbacks, evaluations, as they came.

Every tracker has a position of its own: one that is away holds up no other, and one that joins late
is given everything from the first step on.
"""

import json
import time
from collections.abc import Mapping, Sequence

import attrs

from ralo_server.store import rollbacks
from ralo_server.store.database import Database
from ralo_server.store.evaluation import evaluations
from ralo_server.store.steps import steps

_SOURCES = (steps, rollbacks, evaluations)
_ADD = "INSERT INTO records (step, metrics, time) VALUES (?, ?, ?)"
_POSITION = "COALESCE((SELECT number FROM tracker_positions WHERE tracker = ?), 0)"


@attrs.frozen
class Record:
    """The `number`-th record of a run: metrics of optimizer step `step`."""

    number: int
    step: int
    metrics: Mapping[str, float]


@attrs.frozen
class Records:
    """Records of a run, numbered from 1, for its `trackers`."""

    database: Database
    trackers: Sequence[str]

    def collect(self) -> bool:
        """Add a record for whatever was committed since; return whether there was anything."""
        if not any(source.any_untracked(self.database) for source in _SOURCES):
            return False
        now = time.time()
        with self.database.write() as connection:
            # A step's metrics stay in its row, which is never removed.
            found: list[tuple[int, dict[str, float] | None]] = [
                (step, None) for step in steps.untracked(connection)
            ]
            found += rollbacks.untracked(connection)
            found += evaluations.untracked(connection)
            connection.executemany(
                _ADD,
                [(step, metrics and json.dumps(metrics), now) for step, metrics in found],
            )
        return True

    def after(self, number: int, limit: int = 256) -> Sequence[Record]:
        """Return the next records behind record `number`."""
        rows = self.database.rows(
            """SELECT r.number, r.step, COALESCE(r.metrics, s.metrics) AS metrics
               FROM records r LEFT JOIN steps s ON s.step = r.step AND r.metrics IS NULL
               WHERE r.number > ? ORDER BY r.number LIMIT ?""",
            number,
            limit,
        )
        return [Record(row["number"], row["step"], json.loads(row["metrics"])) for row in rows]

    def position(self, tracker: str) -> int:
        """Return the number of the last record that `tracker` has taken for good."""
        return int(self.database.value(f"SELECT {_POSITION}", tracker))  # noqa: S608

    def take(self, tracker: str, number: int) -> None:
        """Record that `tracker` has all records up to `number`."""
        with self.database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO tracker_positions VALUES (?, ?)", (tracker, number)
            )

    def waiting(self, tracker: str) -> int:
        """Return how many records `tracker` has not taken yet."""
        last = "COALESCE((SELECT MAX(number) FROM records), 0)"
        return int(self.database.value(f"SELECT {last} - {_POSITION}", tracker))  # noqa: S608

    def behind(self) -> dict[str, dict[str, float]]:
        """Return of every tracker how many records it has not taken, as `waiting`, and for how many
        `seconds` the oldest of them has been waiting."""
        return {
            tracker: {"waiting": self.waiting(tracker), "seconds": self._waiting_for(tracker)}
            for tracker in self.trackers
        }

    def _waiting_for(self, tracker: str) -> float:
        oldest = self.database.value(
            "SELECT time FROM records WHERE number > ? ORDER BY number LIMIT 1",
            self.position(tracker),
        )
        return 0.0 if oldest is None else max(0.0, round(time.time() - oldest, 1))

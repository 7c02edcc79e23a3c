"""What trackers are to be told, in one order: steps, rollbacks, evaluations, as they came.

Neighbours: the learner collects what was committed since, and hands it to each tracker
(`learner.delivery`). Every tracker has a position of its own: one that is away holds up no other,
and one that joins late is told everything from the first step on.
"""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence

import attrs

from ralo_server.store.database import Database
from ralo_server.store.evaluation.evaluations import tracked_metrics

_NEWS = """SELECT EXISTS (SELECT 1 FROM steps WHERE tracked = 0)
    OR EXISTS (SELECT 1 FROM rollbacks WHERE tracked = 0)
    OR EXISTS (SELECT 1 FROM evaluations WHERE state = 'reported' AND tracked = 0)"""
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
        """Put what was committed since into line, once; return whether there was anything."""
        if not self.database.value(_NEWS):
            return False
        now = time.time()
        with self.database.write() as connection:
            # A step's metrics stay in its row, which is never removed.
            connection.execute(
                """INSERT INTO records (step, time) SELECT step, ? FROM steps
                   WHERE tracked = 0 ORDER BY step""",
                (now,),
            )
            connection.execute("UPDATE steps SET tracked = 1 WHERE tracked = 0")
            connection.execute(
                """INSERT INTO records (step, metrics, time) SELECT step, metrics, ?
                   FROM rollbacks WHERE tracked = 0 ORDER BY version""",
                (now,),
            )
            connection.execute("UPDATE rollbacks SET tracked = 1 WHERE tracked = 0")
            _collect_evaluations(connection, now)
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
        """Note that `tracker` has all records up to `number`."""
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


def _collect_evaluations(connection: sqlite3.Connection, now: float) -> None:
    """Put new results into line, each at the step of its version."""
    rows = connection.execute(
        """SELECT e.id, e.report,
             COALESCE(json_extract(s.metrics, '$.elapsed_seconds'), 0.0) AS elapsed
           FROM evaluations e LEFT JOIN steps s ON s.step = json_extract(e.report, '$.step')
           WHERE e.tracked = 0 AND e.state = 'reported' ORDER BY e.version, e.benchmark"""
    ).fetchall()
    for row in rows:
        result = json.loads(row["report"])
        # A version's accuracy belongs to the moment it was made, not to that of the answer.
        metrics = {**tracked_metrics(result), "elapsed_seconds": row["elapsed"]}
        connection.execute(_ADD, (result["step"], json.dumps(metrics), now))
        connection.execute("UPDATE evaluations SET tracked = 1 WHERE id = ?", (row["id"],))

"""The table of holds: which version each worker is fetching, so that it is not pruned meanwhile.

A worker holds one version, the last that it was told of, so the versions that are kept for workers
are at most as many as these. A hold ends like a lease, some time after the worker was last heard.
"""

from collections.abc import Callable

import attrs

from ralo_server.store.database import Database
from ralo_server.store.lifecycle import in_states
from ralo_server.store.states import VersionState


@attrs.frozen
class VersionHolds:
    """Holds that last `seconds`; `clock` gives the unix time in seconds."""

    database: Database
    seconds: float
    clock: Callable[[], float]

    def hold(self, worker_id: str, version: int) -> None:
        """Keep `version` for a worker that is about to fetch it, in place of the one before."""
        row = self._row(worker_id)
        if row is None or row[0] != version or self._is_old(row[1]):
            self._write(worker_id, version)

    def renew(self, worker_id: str) -> None:
        """Keep what the worker holds for longer: it is still fetching."""
        row = self._row(worker_id)
        if row is not None and self._is_old(row[1]):
            self._write(worker_id, row[0])

    def _row(self, worker_id: str) -> tuple[int, float] | None:
        rows = self.database.rows(
            "SELECT version, expires FROM version_holds WHERE worker_id = ?", worker_id
        )
        return (int(rows[0]["version"]), float(rows[0]["expires"])) if rows else None

    def _is_old(self, expires: float) -> bool:
        """Say whether half of a hold's time is over: not every request need write."""
        return expires < self.clock() + self.seconds / 2

    def _write(self, worker_id: str, version: int) -> None:
        now = self.clock()
        with self.database.write() as connection:
            connection.execute("DELETE FROM version_holds WHERE expires < ?", (now,))
            connection.execute(
                f"""INSERT OR REPLACE INTO version_holds (worker_id, version, expires)
                    SELECT ?, number, ? FROM versions
                    WHERE number = ? AND {in_states(VersionState.PUBLISHED)}""",  # noqa: S608
                (worker_id, now + self.seconds, version),
            )

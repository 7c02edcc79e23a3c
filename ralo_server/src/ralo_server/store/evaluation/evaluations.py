"""Evaluations: a benchmark asked of a version, from the wish for it to its result.

Neighbours: the learner schedules, people ask on demand, `shards` lets samplers do the work in
parts and closes an evaluation with its result. An evaluation is ``open``, then ``reported``.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from ralo_core.errors import RaloError, nearest
from ralo_server.store.database import Database
from ralo_server.store.evaluation.benchmarks import Benchmarks, Plan
from ralo_server.store.weights.versions import Versions, abandoned

OPEN, REPORTED = "open", "reported"


class EvaluationUnavailableError(RaloError):
    """Raised when an evaluation is asked for that cannot be made."""


@attrs.frozen
class Evaluations:
    """Evaluations of a run."""

    database: Database
    benchmarks: Benchmarks
    versions: Versions

    def schedule(
        self, connection: sqlite3.Connection, version: int, benchmarks: Iterable[str]
    ) -> None:
        """Ask for what `benchmarks` give for `version`, each unless it was asked for already."""
        plans = self.benchmarks.plans()
        for name in benchmarks:
            self._open(connection, version, name, plans[name])

    def request(self, benchmarks: Sequence[str], version: int | None) -> list[dict[str, Any]]:
        """Ask on demand, of the newest version if none is named; return what becomes of each as
        ``{"version", "benchmark", "state"}``.

        Raises `EvaluationUnavailableError` for a benchmark that the run does not have, or a version that is
        not there any more.
        """
        with self.database.write() as connection:
            number = self.versions.newest_number() if version is None else version
            self._check(benchmarks, number)
            wanted = list(dict.fromkeys(benchmarks))
            self.schedule(connection, number, [b for b in wanted if not self._state(number, b)])
            return [
                {"version": number, "benchmark": name, "state": self._state(number, name)}
                for name in wanted
            ]

    def reported(self) -> list[tuple[int, str]]:
        """Return version and benchmark of every result whose answers are in a file; an older
        ralo-server kept none."""
        rows = self.database.rows(
            """SELECT version, benchmark FROM evaluations
               WHERE state = 'reported' AND plan != '' ORDER BY version, benchmark"""
        )
        return [(int(row["version"]), row["benchmark"]) for row in rows]

    def ask_again(self, version: int, benchmark: str) -> None:
        """Forget a result and ask for it anew."""
        name = _name(version, benchmark)
        with self.database.write() as connection:
            connection.execute("DELETE FROM evaluation_shards WHERE evaluation = ?", (name,))
            connection.execute("DELETE FROM evaluations WHERE id = ?", (name,))
            if benchmark in self.benchmarks.plans():
                self.schedule(connection, version, [benchmark])

    def open(self) -> int:
        """Return how many evaluations have no result yet."""
        return int(self.database.value("SELECT COUNT(*) FROM evaluations WHERE state = 'open'"))

    def open_versions(self) -> list[int]:
        """Return the versions that must stay because they are still being evaluated."""
        rows = self.database.rows("SELECT DISTINCT version FROM evaluations WHERE state = 'open'")
        return [int(row["version"]) for row in rows]

    def results(
        self, benchmark: str | None = None, version: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the results by version, then benchmark; those of versions that a rollback left
        behind have ``"abandoned": true``."""
        rows = self.database.rows(
            """SELECT report FROM evaluations WHERE state = 'reported'
               AND (? IS NULL OR benchmark = ?) AND (? IS NULL OR version = ?)
               ORDER BY version, benchmark""",
            benchmark,
            benchmark,
            version,
            version,
        )
        return self._parsed(rows)

    def shown(self, most: int) -> list[dict[str, Any]]:
        """Return of each benchmark at most `most` results, evenly spread, the first and the last
        among them, in the order of `results`."""
        rows = self.database.rows(
            "SELECT id, benchmark FROM evaluations WHERE state = 'reported' ORDER BY version"
        )
        names: dict[str, list[str]] = {}
        for row in rows:
            names.setdefault(row["benchmark"], []).append(row["id"])
        chosen = [of[place] for of in names.values() for place in _spread(len(of), most)]
        marks = ",".join("?" * len(chosen))
        rows = self.database.rows(
            f"SELECT report FROM evaluations WHERE id IN ({marks}) ORDER BY version, benchmark",  # noqa: S608
            *chosen,
        )
        return self._parsed(rows)

    def _parsed(self, rows: Iterable[sqlite3.Row]) -> list[dict[str, Any]]:
        found = [json.loads(row["report"]) for row in rows]
        behind = set(abandoned(self.database, {result["version"] for result in found}))
        return [{**result, "abandoned": result["version"] in behind} for result in found]

    def _check(self, benchmarks: Sequence[str], version: int) -> None:
        known = list(self.benchmarks.plans())
        for name in benchmarks:
            if name not in known:
                msg = (
                    f"the run has no benchmark '{name}'{nearest(name, known)}; it has: "
                    f"{', '.join(known) or 'none'} (benchmarks.pipeline; ralo serve --resume RUN "
                    "--set takes more)"
                )
                raise EvaluationUnavailableError(msg)
        kept = self.versions.published()
        if version not in kept:
            msg = f"version {version} is not kept; kept are {', '.join(map(str, kept)) or 'none'}"
            raise EvaluationUnavailableError(msg)

    def _state(self, version: int, benchmark: str) -> str:
        state = self.database.value(
            "SELECT state FROM evaluations WHERE version = ? AND benchmark = ?", version, benchmark
        )
        return str(state or "")

    def _open(
        self, connection: sqlite3.Connection, version: int, benchmark: str, plan: Plan
    ) -> None:
        name = _name(version, benchmark)
        made = connection.execute(
            """INSERT OR IGNORE INTO evaluations (id, version, benchmark, state, plan)
               VALUES (?, ?, ?, 'open', ?)""",
            (name, version, benchmark, plan.dump()),
        ).rowcount
        if not made:
            return
        size, step = self.benchmarks.size(benchmark), plan.shard_items
        connection.executemany(
            """INSERT INTO evaluation_shards (id, evaluation, first, items, state)
               VALUES (?, ?, ?, ?, 'waiting')""",
            [
                (f"{name}-{number}", name, first, min(step, size - first))
                for number, first in enumerate(range(0, size, step))
            ],
        )


def _name(version: int, benchmark: str) -> str:
    return f"eval-{version}-{benchmark}"


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` of the numbers below `count`, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def give_up(connection: sqlite3.Connection, versions: Iterable[int]) -> None:
    """Forget what is open of these versions; results stay."""
    for version in versions:
        connection.execute(
            """DELETE FROM evaluation_shards WHERE evaluation IN
                 (SELECT id FROM evaluations WHERE version = ? AND state = 'open')""",
            (version,),
        )
        connection.execute(
            "DELETE FROM evaluations WHERE version = ? AND state = 'open'", (version,)
        )


def tracked_metrics(result: dict[str, Any]) -> dict[str, float]:
    """Return a result as trackers get it: ``eval/<benchmark>/<metric>`` with its bounds."""
    metrics: dict[str, float] = {"version": result["version"], "time": result["time"]}
    for name, estimate in result["metrics"].items():
        path = f"eval/{result['benchmark']}/{name}"
        metrics[path] = estimate["value"]
        metrics[f"{path}/low"], metrics[f"{path}/high"] = estimate["low"], estimate["high"]
    return metrics

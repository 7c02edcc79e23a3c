"""The table of evaluations: a benchmark asked of a version, from the request to its result.

The learner schedules them, people request them; samplers lease them in shards, and the report of
the last shard closes an evaluation with its result.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from ralo_core.errors import RaloError, nearest
from ralo_server.store.database import Database
from ralo_server.store.evaluation import benchmarks as benchmark_rows
from ralo_server.store.evaluation import shard_rows
from ralo_server.store.evaluation.benchmarks import Benchmarks, Plan
from ralo_server.store.lifecycle import in_states
from ralo_server.store.states import EVALUATIONS, EvaluationState
from ralo_server.store.weights.versions import Versions, abandoned

_REPORTED = in_states(EvaluationState.REPORTED)
_UNTRACKED = f"""SELECT e.id, e.report,
        COALESCE(json_extract(s.metrics, '$.elapsed_seconds'), 0.0) AS elapsed
    FROM evaluations e LEFT JOIN steps s ON s.step = json_extract(e.report, '$.step')
    WHERE e.tracked = 0 AND {in_states(EvaluationState.REPORTED, column="e.state")}
    ORDER BY e.version, e.benchmark"""  # noqa: S608


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

        Raises `EvaluationUnavailableError` for a benchmark that the run does not have, or a version
        that is not there any more.
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
        """Return version and benchmark of every result whose responses are in a file; an older
        ralo-server kept none."""
        rows = self.database.rows(
            f"""SELECT version, benchmark FROM evaluations
                WHERE {_REPORTED} AND plan != '' ORDER BY version, benchmark"""  # noqa: S608
        )
        return [(int(row["version"]), row["benchmark"]) for row in rows]

    def ask_again(self, version: int, benchmark: str) -> None:
        """Forget a result and ask for it anew."""
        name = _name(version, benchmark)
        with self.database.write() as connection:
            _remove(connection, name)
            if benchmark in self.benchmarks.plans():
                self.schedule(connection, version, [benchmark])

    def open(self) -> int:
        """Return how many evaluations have no result yet."""
        return EVALUATIONS.count(self.database, EvaluationState.OPEN)

    def results(
        self, benchmark: str | None = None, version: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the results by version, then benchmark; those of versions that a rollback left
        behind have ``"abandoned": true``."""
        rows = self.database.rows(
            f"""SELECT report FROM evaluations WHERE {_REPORTED}
                AND (? IS NULL OR benchmark = ?) AND (? IS NULL OR version = ?)
                ORDER BY version, benchmark""",  # noqa: S608
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
            f"SELECT id, benchmark FROM evaluations WHERE {_REPORTED} ORDER BY version"  # noqa: S608
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
        if self._state(version, benchmark):
            return
        name = _name(version, benchmark)
        EVALUATIONS.insert(
            connection,
            EvaluationState.OPEN,
            id=name,
            version=version,
            benchmark=benchmark,
            plan=plan.dump(),
        )
        shard_rows.add(connection, name, self.benchmarks.size(benchmark), plan.shard_items)


def _name(version: int, benchmark: str) -> str:
    return f"eval-{version}-{benchmark}"


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` of the numbers below `count`, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def use_benchmarks(database: Database, plans: Mapping[str, Plan]) -> None:
    """Let these be the benchmarks of the run from now on; what is open of others is given up.

    Versions that are being evaluated go on as they began.
    """
    with database.write() as connection:
        benchmark_rows.replace(connection, plans)
        for name, plan in plans.items():
            # An older ralo-server left these open, without a plan of their own.
            connection.execute(
                "UPDATE evaluations SET plan = ? WHERE benchmark = ? AND plan = ''",
                (plan.dump(), name),
            )
        for row in _open_ones(connection):
            if row["benchmark"] not in plans:
                _remove(connection, row["id"])


def give_up(connection: sqlite3.Connection, versions: Iterable[int]) -> None:
    """Forget what is open of these versions; results stay."""
    given_up = set(versions)
    for row in _open_ones(connection):
        if row["version"] in given_up:
            _remove(connection, row["id"])


def start(connection: sqlite3.Connection, evaluation: str, now: float) -> None:
    """Record the time of the first grant of a shard."""
    connection.execute(
        "UPDATE evaluations SET started = COALESCE(started, ?) WHERE id = ?", (now, evaluation)
    )


def close(connection: sqlite3.Connection, evaluation: str, result: Mapping[str, Any]) -> None:
    """Store the result of an evaluation whose shards are all reported."""
    EVALUATIONS.move(
        connection,
        EvaluationState.REPORTED,
        "id = :evaluation",
        sets="report = :report",
        evaluation=evaluation,
        report=json.dumps(result, ensure_ascii=False),
    )
    shard_rows.drop_responses(connection, evaluation)


def untracked(connection: sqlite3.Connection) -> list[tuple[int, dict[str, float]]]:
    """Return (step of the version, metrics) of the results that trackers have not been told of, and
    mark them as told."""
    found = []
    for row in connection.execute(_UNTRACKED).fetchall():
        result = json.loads(row["report"])
        # A version's accuracy belongs to the moment it was made, not to that of the result.
        metrics = {**tracked_metrics(result), "elapsed_seconds": row["elapsed"]}
        found.append((result["step"], metrics))
        connection.execute("UPDATE evaluations SET tracked = 1 WHERE id = ?", (row["id"],))
    return found


def any_untracked(database: Database) -> bool:
    """Say whether `untracked` would return anything."""
    query = f"SELECT 1 FROM evaluations WHERE {_REPORTED} AND tracked = 0"  # noqa: S608
    return bool(database.value(query))


def tracked_metrics(result: dict[str, Any]) -> dict[str, float]:
    """Return a result as trackers get it: ``eval/<benchmark>/<metric>`` with its bounds."""
    metrics: dict[str, float] = {"version": result["version"], "time": result["time"]}
    for name, estimate in result["metrics"].items():
        path = f"eval/{result['benchmark']}/{name}"
        metrics[path] = estimate["value"]
        metrics[f"{path}/low"], metrics[f"{path}/high"] = estimate["low"], estimate["high"]
    return metrics


def _open_ones(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    query = (
        f"SELECT id, version, benchmark FROM evaluations WHERE {in_states(EvaluationState.OPEN)}"  # noqa: S608
    )
    return connection.execute(query).fetchall()


def _remove(connection: sqlite3.Connection, evaluation: str) -> None:
    shard_rows.remove(connection, evaluation)
    EVALUATIONS.remove(connection, "id = :evaluation", evaluation=evaluation)

"""What a run has measured, as points of a scaling law: compute spent, and the value then.

The compute of a version is what training had cost when it came to be (`ralo_server.store.compute`),
that of version 0 is 0. Versions that a rollback left behind, and the copy that it made, are not
part of the curve: what they cost is.

`ralo_server.scaling` fits them and knows neither the tables nor the shape of a result.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ralo_server.store.compute import WORKING_METRIC
from ralo_server.store.database import Database
from ralo_server.store.lifecycle import in_states
from ralo_server.store.states import EvaluationState

HELD_OUT, ACCURACY = "held_out", "accuracy"

_RESULTS = f"""SELECT e.report, v.step, json_extract(s.metrics, '$."{WORKING_METRIC}"') AS compute
    FROM evaluations e JOIN versions v ON v.number = e.version LEFT JOIN steps s ON s.step = v.step
    WHERE {in_states(EvaluationState.REPORTED, column="e.state")}
    AND NOT EXISTS (SELECT 1 FROM rollbacks r WHERE e.version > r.target AND e.version <= r.version)
    ORDER BY e.version"""  # noqa: S608 (a constant)


def points(database: Database, benchmark: str, metric: str) -> list[tuple[float, float]]:
    """Return (C, R) of every measured version, in their order: C in device-seconds.

    Versions whose compute was not counted are left out.
    """
    found = []
    for row in database.rows(_RESULTS):
        value = _values(json.loads(row["report"])).get((benchmark, metric))
        compute = row["compute"] if row["step"] else 0.0
        if value is not None and (compute or not row["step"]):
            found.append((float(compute), float(value)))
    return found


def measured(database: Database) -> Sequence[tuple[str, str]]:
    """Return benchmark and metric of every curve that there are results of."""
    reports = (json.loads(row["report"]) for row in database.rows(_RESULTS))
    return sorted({names for report in reports for names in _values(report)})


def _values(report: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Return the values of a result by benchmark and metric."""
    name = report["benchmark"]
    return {(name, metric): each["value"] for metric, each in report["metrics"].items()}

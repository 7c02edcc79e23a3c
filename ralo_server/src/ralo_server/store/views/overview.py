"""A run in a few numbers, out of a state.db that is not changed by looking.

It reads only what every schema has, because ``ralo runs`` lists runs of older versions too.
"""

import json
from contextlib import closing
from pathlib import Path

import attrs

from ralo_server.store.database import DAMAGED, Database
from ralo_server.store.lifecycle import in_states
from ralo_server.store.states import EvaluationState, RunState

UNREADABLE = "unreadable"


@attrs.frozen(kw_only=True)
class Overview:
    """Name, state and progress; `version` is -1 before the first, a number not known is None."""

    name: str
    recipe: str
    state: str
    step: int
    version: int
    reward: float | None
    accuracy: float | None


_EARLIER_VALUES = "facts"
"""The table of values, before it was called `run_values`."""
# The held-out problems go before benchmarks. An older state.db knows only these.
_ACCURACY = f"""SELECT COALESCE(json_extract(report, '$.metrics.accuracy.value'),
      json_extract(report, '$.accuracy')) FROM evaluations
    WHERE {in_states(EvaluationState.REPORTED)}
    ORDER BY id LIKE '%-held_out' DESC, version DESC LIMIT 1"""  # noqa: S608


def overview(path: Path) -> Overview:
    """Return the overview of the run whose state.db lies at `path`.

    A file that cannot be read gives the state `UNREADABLE`: the list of runs goes on.
    """
    try:
        with closing(Database(path, read_only=True)) as database:
            return _read(database)
    except DAMAGED:
        return Overview(
            name="", recipe="", state=UNREADABLE, step=0, version=-1, reward=None, accuracy=None
        )


def _read(database: Database) -> Overview:
    return Overview(
        name=_value(database, "run", ""),
        recipe=_value(database, "recipe", ""),
        state=_value(database, "state", RunState.RUNNING),
        step=int(database.value("SELECT MAX(step) FROM steps") or 0),
        version=int(database.value("SELECT COALESCE(MAX(number), -1) FROM versions")),
        reward=database.value(
            "SELECT json_extract(metrics, '$.reward') FROM steps ORDER BY step DESC LIMIT 1"
        ),
        accuracy=database.value(_ACCURACY),
    )


def _value(database: Database, name: str, default: str) -> str:
    renamed = database.value("SELECT 1 FROM sqlite_master WHERE name = 'run_values'")
    table = "run_values" if renamed else _EARLIER_VALUES
    text = database.value(f"SELECT value FROM {table} WHERE name = ?", name)  # noqa: S608
    return default if text is None else str(json.loads(text))

"""A run in a few numbers, out of a state.db that is not changed by looking.

Neighbours: ``ralo runs`` lists many runs with it. It asks only for what every schema has.
"""

from contextlib import closing
from pathlib import Path

import attrs

from ralo_server.store.database import DAMAGED, Database
from ralo_server.store.run_state import RUNNING
from ralo_server.store.values import get_value

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
        name=get_value(database, "run", ""),
        recipe=get_value(database, "recipe", ""),
        state=get_value(database, "state", RUNNING),
        step=int(database.value("SELECT MAX(step) FROM steps") or 0),
        version=int(database.value("SELECT COALESCE(MAX(number), -1) FROM versions")),
        reward=database.value(
            "SELECT json_extract(metrics, '$.reward') FROM steps ORDER BY step DESC LIMIT 1"
        ),
        accuracy=database.value(
            # The held-out problems go before benchmarks. An older state.db knows only these.
            """SELECT COALESCE(json_extract(report, '$.metrics.accuracy.value'),
                 json_extract(report, '$.accuracy')) FROM evaluations WHERE state = 'reported'
               ORDER BY id LIKE '%-held_out' DESC, version DESC LIMIT 1"""
        ),
    )

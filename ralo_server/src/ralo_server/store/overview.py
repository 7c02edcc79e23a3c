"""A run in a few numbers, out of a state.db that is not changed by looking.

It reads only what every schema has, because ``ralo runs`` lists runs of older versions too.
"""

from contextlib import closing
from pathlib import Path

import attrs

from ralo_server.store.database import DAMAGED, Database
from ralo_server.store.facts import get_fact
from ralo_server.store.run_state import RUNNING

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
        name=get_fact(database, "run", ""),
        recipe=get_fact(database, "recipe", ""),
        state=get_fact(database, "state", RUNNING),
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

"""The tables of benchmarks: how each is asked and graded, and its items.

Items are drawn once, when the run is made, so results of different versions can be compared.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence

import attrs

from ralo_core import wire
from ralo_core.config import BenchmarkSettings
from ralo_core.data import Problem, ResponseSettings
from ralo_core.structuring import structure, unstructure
from ralo_server.store.database import Database

SHARD_RESPONSES = 64
"""Responses of a shard, where a benchmark does not say how many items one has."""


@attrs.frozen(kw_only=True)
class Plan:
    """How a benchmark is asked, graded and computed; `settings.every_steps` is not negative."""

    grader: str
    settings: BenchmarkSettings

    @property
    def response_settings(self) -> ResponseSettings:
        """What a sampler must know."""
        names = attrs.fields_dict(ResponseSettings).keys() - {"grader"}
        return ResponseSettings(
            grader=self.grader, **{name: getattr(self.settings, name) for name in names}
        )

    @property
    def shard_items(self) -> int:
        """How many items a sampler is given at a time."""
        return self.settings.shard_items or max(1, SHARD_RESPONSES // self.settings.samples)

    def due(self, step: int) -> bool:
        """Say whether the version that `step` makes is evaluated."""
        every = self.settings.every_steps
        return bool(every) and step % every == 0

    def dump(self) -> str:
        """Return it as JSON."""
        return json.dumps(unstructure(self), ensure_ascii=False)

    @classmethod
    def load(cls, text: str) -> "Plan":
        """Return what `dump` wrote."""
        return structure(json.loads(text), cls)


@attrs.frozen
class Benchmarks:
    """Benchmarks of a run."""

    database: Database

    def plans(self) -> dict[str, Plan]:
        """Return the benchmarks that the config names, in its order."""
        rows = self.database.rows("SELECT name, plan FROM benchmarks ORDER BY position")
        return {row["name"]: Plan.load(row["plan"]) for row in rows if row["plan"]}

    def due(self, step: int) -> list[str]:
        """Return the benchmarks that evaluate the version which `step` makes."""
        return [name for name, plan in self.plans().items() if plan.due(step)]

    def size(self, name: str) -> int:
        """Return how many items a benchmark has; 0 for one that was never drawn."""
        count = "SELECT COUNT(*) FROM benchmark_items WHERE benchmark = ?"
        return int(self.database.value(count, name))

    def items(self, name: str, first: int = 0, count: int = -1) -> list[Problem]:
        """Return `count` items (-1: all) from number `first` on."""
        rows = self.database.rows(
            """SELECT body FROM benchmark_items WHERE benchmark = ? AND number >= ?
               ORDER BY number LIMIT ?""",
            name,
            first,
            count,
        )
        return [wire.problem_from_json(json.loads(row["body"])) for row in rows]

    def draw(self, name: str, items: Sequence[Problem]) -> None:
        """Store the items of a benchmark; they stay as long as the run does."""
        with self.database.write() as connection:
            connection.executemany(
                "INSERT INTO benchmark_items (benchmark, number, body) VALUES (?, ?, ?)",
                [
                    (name, number, json.dumps(unstructure(item), ensure_ascii=False))
                    for number, item in enumerate(items)
                ],
            )


def replace(connection: sqlite3.Connection, plans: Mapping[str, Plan]) -> None:
    """Let these be the benchmarks that the config names, in this order; items stay."""
    connection.execute("DELETE FROM benchmarks")
    connection.executemany(
        "INSERT INTO benchmarks (name, position, plan) VALUES (?, ?, ?)",
        [(name, place, plan.dump()) for place, (name, plan) in enumerate(plans.items())],
    )

"""`Lifecycle`: the states that rows of one table go through, and the only way to change one.

A change of a state is an UPDATE that takes the rows in the states that lead to the new one. So a
change that is not in the table of transitions does not happen, whoever asks for it, and the same
table is what the diagrams of docs/architecture.md are compared with.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, TypeVar

import attrs

from ralo_server.store.database import Database

State = TypeVar("State", bound=StrEnum)


@attrs.frozen(kw_only=True)
class Lifecycle(Generic[State]):
    """States of the rows of `table`: rows begin in one of `created`, go from state to state by
    `transitions` (state -> those that may follow), and are deleted from the states `removed`.

    SQL conditions that are passed here are constants of the calling module; values are named
    parameters, ``:name`` in the condition.
    """

    table: str
    created: Sequence[State]
    transitions: Mapping[State, Sequence[State]]
    removed: Sequence[State] = ()

    def insert(self, connection: sqlite3.Connection, state: State, **columns: Any) -> None:
        """Add a row in `state`; raises `ValueError` for a state that rows do not begin in."""
        if state not in self.created:
            msg = f"a row of {self.table} begins as {', '.join(self.created)}, not as {state}"
            raise ValueError(msg)
        names = [*columns, "state"]
        marks = ", ".join(f":{name}" for name in names)
        connection.execute(
            f"INSERT INTO {self.table} ({', '.join(names)}) VALUES ({marks})",  # noqa: S608
            {**columns, "state": state},
        )

    def move(
        self,
        connection: sqlite3.Connection,
        to: State,
        where: str,
        *,
        sets: str = "",
        only_from: State | None = None,
        **values: Any,
    ) -> int:
        """Put the rows of `where` that may become `to` into that state; return how many they were.

        `sets` are further assignments (``"expires = :expires"``); `only_from` leaves rows in other
        states alone, also where the transition would be allowed.
        """
        sources = self.sources(to)
        if only_from is not None:
            sources = [state for state in sources if state == only_from]
        if not sources:
            msg = f"no row of {self.table} becomes {to}" + (f" from {only_from}" * bool(only_from))
            raise ValueError(msg)
        assignments = f"state = :state, {sets}" if sets else "state = :state"
        return connection.execute(
            f"UPDATE {self.table} SET {assignments} WHERE ({where}) AND {in_states(*sources)}",  # noqa: S608
            {**values, "state": to},
        ).rowcount

    def remove(self, connection: sqlite3.Connection, where: str, **values: Any) -> int:
        """Delete the rows of `where` that are in a state to be deleted from; return how many."""
        return connection.execute(
            f"DELETE FROM {self.table} WHERE ({where}) AND {in_states(*self.removed)}",  # noqa: S608
            values,
        ).rowcount

    def count(self, database: Database, *states: State) -> int:
        """Return how many rows are in one of `states`."""
        query = f"SELECT COUNT(*) FROM {self.table} WHERE {in_states(*states)}"  # noqa: S608
        return int(database.value(query))

    def sources(self, state: State) -> list[State]:
        """Return the states that a row may be in right before it becomes `state`."""
        return [before for before, after in self.transitions.items() if state in after]


def in_states(*states: StrEnum, column: str = "state") -> str:
    """Return the SQL condition that `column` is one of `states`."""
    listed = ", ".join(f"'{state}'" for state in states)
    return f"{column} IN ({listed})"


def not_in_states(*states: StrEnum, column: str = "state") -> str:
    """Return the SQL condition that `column` is none of `states`."""
    listed = ", ".join(f"'{state}'" for state in states)
    return f"{column} NOT IN ({listed})"

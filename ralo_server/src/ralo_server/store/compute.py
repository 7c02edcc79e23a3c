"""What a run has cost so far: device-seconds, working apart from waiting, and tokens, by role.

A row is what one start of a worker, its session, has spent in a role since it started, as it said
last. Totals are sums over rows, so a report that comes twice counts once, one that is overtaken by
a newer one changes nothing, and a worker that is killed loses what it did since its last report.

Workers report through the web side, the learner reports by itself; every step stores the totals of
its moment among its metrics. The role `evaluator` is the part of samplers' time and tokens that
evaluations took: it is not in the totals of a step, which are what training has cost.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

import attrs

from ralo_core.messages.compute import ComputeStats, SpentByAll, VersionCost
from ralo_server.store.database import Database
from ralo_server.store.lease_terms import LeaseTerms
from ralo_server.store.lifecycle import in_states
from ralo_server.store.states import WorkerState

SAMPLER, EVALUATOR, TRAINER, LEARNER = "sampler", "evaluator", "trainer", "learner"
ROLES = (SAMPLER, EVALUATOR, TRAINER, LEARNER)

WORKING_METRIC, TOKENS_METRIC = "compute/working_seconds", "compute/tokens"
"""What training had cost, among the metrics of a step: the x-axis of a scaling law."""

_SHOWN_VERSIONS = 200

_STORE = """INSERT INTO compute VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (session, role) DO UPDATE SET
        worker_id = excluded.worker_id, devices = excluded.devices, working = excluded.working,
        waiting = excluded.waiting, tokens = excluded.tokens, age = excluded.age,
        seen = excluded.seen
    WHERE excluded.age > compute.age"""
_SUMS = """SELECT role, SUM(working) AS working, SUM(waiting) AS waiting, SUM(tokens) AS tokens
    FROM compute GROUP BY role"""
_PRESENT = f"""SELECT role, COUNT(*) AS workers, SUM(devices) AS devices FROM compute
    WHERE seen >= ?
    AND worker_id NOT IN (SELECT id FROM workers WHERE {in_states(WorkerState.LEFT)})
    GROUP BY role"""  # noqa: S608
_VERSIONS = f"""SELECT step, json_extract(metrics, '$.version') AS version,
        json_extract(metrics, '$."{WORKING_METRIC}"') AS working_seconds,
        json_extract(metrics, '$."{TOKENS_METRIC}"') AS tokens
    FROM steps, (SELECT MAX(step) AS last FROM steps)
    WHERE (step = last OR step % ((last - 1) / ? + 1) = 0) AND working_seconds IS NOT NULL
    ORDER BY step"""  # noqa: S608 (constants)


@attrs.frozen(kw_only=True)
class Spent:
    """Device-seconds and tokens since some start."""

    working_seconds: float = 0.0
    waiting_seconds: float = 0.0
    tokens: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            working_seconds=self.working_seconds + other.working_seconds,
            waiting_seconds=self.waiting_seconds + other.waiting_seconds,
            tokens=self.tokens + other.tokens,
        )


@attrs.frozen(kw_only=True)
class Session:
    """One start of a worker, `age_seconds` old at the moment of a report, with its `devices`."""

    id: str
    worker_id: str
    age_seconds: float
    devices: int = 1


@attrs.frozen
class Compute:
    """Compute of a run."""

    database: Database
    leases: LeaseTerms

    def report(self, session: Session, roles: Mapping[str, Spent]) -> None:
        """Store what a session has spent since its start in each of `roles`, unless there is a
        newer report of it."""
        now = self.leases.clock()
        with self.database.write() as connection:
            for role, spent in roles.items():
                connection.execute(_STORE, _row(session, role, spent, now))

    def spent(self) -> dict[str, Spent]:
        """Return what each of `ROLES` has cost since the run began."""
        found = {
            row["role"]: Spent(
                working_seconds=row["working"], waiting_seconds=row["waiting"], tokens=row["tokens"]
            )
            for row in self.database.rows(_SUMS)
        }
        return {role: found.get(role, Spent()) for role in ROLES}

    def step_metrics(self) -> dict[str, float]:
        """Return what a step that is committed now says of the compute spent until then.

        ``compute/working_seconds``, ``compute/waiting_seconds`` and ``compute/tokens`` are those of
        training, ``compute/<role>_seconds`` what each role worked, evaluations as well.
        """
        roles = self.spent()
        trained = _sum(spent for role, spent in roles.items() if role != EVALUATOR)
        return {
            WORKING_METRIC: trained.working_seconds,
            "compute/waiting_seconds": trained.waiting_seconds,
            TOKENS_METRIC: trained.tokens,
            **{f"compute/{role}_seconds": spent.working_seconds for role, spent in roles.items()},
        }

    def statistics(self) -> ComputeStats:
        """Return the reply of ``/compute/stats``; workers and devices are those here now, and in
        the total each counts once, whether it samples or evaluates."""
        since = self.leases.clock() - self.leases.seconds
        here = {row["role"]: row for row in self.database.rows(_PRESENT, since)}
        spent = self.spent()
        roles = {
            role: SpentByAll(**attrs.asdict(part), **_presence(here.get(role)))
            for role, part in spent.items()
        }
        present = [part for role, part in roles.items() if role != EVALUATOR]
        total = SpentByAll(
            **attrs.asdict(_sum(spent.values())),
            devices=sum(part.devices for part in present),
            workers=sum(part.workers for part in present),
        )
        versions = [
            VersionCost(**dict(row)) for row in self.database.rows(_VERSIONS, _SHOWN_VERSIONS)
        ]
        return ComputeStats(roles=roles, total=total, versions=tuple(versions))


def _row(session: Session, role: str, spent: Spent, now: float) -> tuple[Any, ...]:
    return (
        session.id, role, session.worker_id, session.devices, spent.working_seconds,
        spent.waiting_seconds, spent.tokens, session.age_seconds, now,
    )  # fmt: skip


def _presence(row: sqlite3.Row | None) -> dict[str, int]:
    return {"devices": row["devices"] if row else 0, "workers": row["workers"] if row else 0}


def _sum(parts: Any) -> Spent:
    return sum(parts, start=Spent())

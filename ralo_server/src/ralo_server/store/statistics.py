"""``GET /stats``: the whole state of a run out of the store, and nothing that is not in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ralo_core.config import LearnerSettings, RunSettings, TrainerSettings
from ralo_core.messages.evaluations import Estimate, Evaluation
from ralo_core.messages.stats import (
    BatchCounts,
    GradientCounts,
    Limits,
    ProblemCounts,
    RolloutCounts,
    RunStats,
    ShardCounts,
    TokenCounts,
    TrackerBacklog,
    TreeCounts,
    WorkerStats,
)
from ralo_core.structuring import structure_reply
from ralo_server.gradients.checks import REASONS
from ralo_server.store.database import Database
from ralo_server.store.facts import get_fact, total
from ralo_server.store.store import Store
from ralo_server.store.trees import SKIPPED
from ralo_server.store.uploads import ABANDONED, DISCARDED, PENDING, RECEIVING, REFUSED

_SHOWN_RESULTS = 200
"""Of each benchmark."""
_PROBLEM_STATES = ("waiting", "leased", "failed")
_GRADIENT_STATES = (RECEIVING, PENDING, "left_out", ABANDONED, REFUSED, DISCARDED)


def present_state(store: Store) -> RunStats:
    """Return the reply of ``/stats`` without its steps."""
    database = store.database
    run = store.config.section(RunSettings)
    results = store.evaluations.shown(_SHOWN_RESULTS)
    return RunStats(
        run=store.run.name(),
        recipe=get_fact(database, "recipe", ""),
        model=run.model,
        state=store.run.current(),
        version=store.versions.newest_number(),
        step=store.run.step(),
        elapsed_seconds=store.run.elapsed(),
        started=get_fact(database, "started", 0.0),
        limits=Limits(max_steps=run.max_steps, max_minutes=run.max_minutes),
        problems=_problems(store),
        trees=_trees(store),
        batches=BatchCounts(
            **_in_states(database, "batches", ("leased",)), empty=len(store.steps.empty_batches())
        ),
        gradients=_gradients(database),
        tokens=TokenCounts(
            decoded=total(database, "tokens_decoded"), trained=total(database, "tokens_trained")
        ),
        rollouts=RolloutCounts(
            sampled=total(database, "rollouts_sampled"),
            trained=total(database, "rollouts_trained"),
        ),
        trackers=structure_reply(store.records.behind(), dict[str, TrackerBacklog]),
        batch_trees=store.config.section(TrainerSettings).batch_trees,
        gradients_per_step=store.config.section(LearnerSettings).gradients_per_step,
        workers=structure_reply(store.workers.all(), tuple[WorkerStats, ...]),
        evaluations=tuple(map(_evaluation, results)),
        evaluation=ShardCounts(**store.shards.counts()),
        last_error=get_fact(database, "last_error", ""),
    )


def _evaluation(result: Mapping[str, Any]) -> Evaluation:
    # Made directly, not structured: there may be hundreds, and the store checked them on their way.
    fields = {field.name: result[field.name] for field in attrs.fields(Evaluation)}
    metrics = {name: Estimate(**bounds) for name, bounds in result["metrics"].items()}
    return Evaluation(**{**fields, "metrics": metrics})


def _problems(store: Store) -> ProblemCounts:
    database = store.database
    return ProblemCounts(
        issued=total(database, "problems_issued"),
        **_by_state(database, "problems", _PROBLEM_STATES, "done"),
        total=get_fact(database, "problem_count"),
    )


def _trees(store: Store) -> TreeCounts:
    database = store.database
    return TreeCounts(
        **_in_states(database, "trees", ("queued", "leased", "failed", "discarded")),
        trained=total(database, "trees_trained"),
        skipped=total(database, "trees_skipped"),
        skipped_since_step=_in_states(database, "trees", (SKIPPED,))[SKIPPED],
        capacity=store.problems.capacity,
    )


def _gradients(database: Database) -> GradientCounts:
    counts = _by_state(database, "gradients", _GRADIENT_STATES, "applied")
    reasons = {reason: total(database, f"gradients_refused_{reason}") for reason in REASONS}
    # An older server counted refusals without their reason.
    without_reason = total(database, "gradients_refused")
    return GradientCounts(
        **{state: count for state, count in counts.items() if state != REFUSED},
        refused=sum(reasons.values()) + without_reason,
        refused_by_reason=reasons,
    )


def _by_state(
    database: Database, table: str, states: Sequence[str], most: str
) -> Mapping[str, int]:
    """Count the rows in `states`; all others, by far the most, are in the state `most`.

    Rows of these tables are numbered and never removed: a month's worth need not be counted.
    """
    counts = _in_states(database, table, states, f"(SELECT MAX(number) FROM {table}) AS rows")  # noqa: S608
    rows = counts.pop("rows") or 0
    return {**counts, most: rows - sum(counts.values())}


def _in_states(database: Database, table: str, states: Sequence[str], *more: str) -> dict[str, int]:
    """Count the rows in each of `states`, and select `more`, all at the same moment."""
    counts = [
        f"(SELECT COUNT(*) FROM {table} WHERE state = '{state}') AS {state}"  # noqa: S608
        for state in states
    ]
    return dict(database.rows(f"SELECT {', '.join([*counts, *more])}")[0])  # noqa: S608

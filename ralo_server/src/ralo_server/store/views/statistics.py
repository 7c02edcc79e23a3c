"""``GET /stats``: the whole state of a run out of the store, and nothing that is not in it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
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
from ralo_server.store.lifecycle import in_states
from ralo_server.store.states import (
    BATCHES,
    TREES,
    BatchState,
    GradientState,
    ProblemState,
    TreeState,
)
from ralo_server.store.store import Store
from ralo_server.store.values import get_value, total

_SHOWN_RESULTS = 200
"""Of each benchmark."""
_PROBLEM_STATES = (ProblemState.WAITING, ProblemState.LEASED, ProblemState.FAILED)
_TREE_STATES = (TreeState.QUEUED, TreeState.LEASED, TreeState.FAILED, TreeState.DISCARDED)
_GRADIENT_STATES = tuple(state for state in GradientState if state != GradientState.APPLIED)


def present_state(store: Store) -> RunStats:
    """Return the reply of ``/stats`` without its steps and, as it needs more than the store has,
    with an empty `bottleneck`."""
    database = store.database
    run = store.config.section(RunSettings)
    results = store.evaluations.shown(_SHOWN_RESULTS)
    return RunStats(
        run=store.run.name(),
        recipe=get_value(database, "recipe", ""),
        model=run.model,
        state=store.run.current(),
        version=store.versions.newest_number(),
        step=store.run.step(),
        elapsed_seconds=store.run.elapsed(),
        started=get_value(database, "started", 0.0),
        limits=Limits(max_steps=run.max_steps, max_minutes=run.max_minutes),
        problems=_problems(store),
        trees=_trees(store),
        batches=BatchCounts(
            leased=BATCHES.count(database, BatchState.LEASED), empty=len(store.batches.empty())
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
        bottleneck="",
        last_error=get_value(database, "last_error", ""),
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
        **_by_state(database, "problems", _PROBLEM_STATES, ProblemState.DONE),
        total=get_value(database, "problem_count"),
    )


def _trees(store: Store) -> TreeCounts:
    database = store.database
    return TreeCounts(
        **_in_states(database, "trees", _TREE_STATES),
        trained=total(database, "trees_trained"),
        skipped=total(database, "trees_skipped"),
        skipped_since_step=TREES.count(database, TreeState.SKIPPED),
        capacity=store.problems.capacity,
    )


def _gradients(database: Database) -> GradientCounts:
    counts = _by_state(database, "gradients", _GRADIENT_STATES, GradientState.APPLIED)
    reasons = {reason: total(database, f"gradients_refused_{reason}") for reason in REASONS}
    # An older server counted refusals without their reason.
    without_reason = total(database, "gradients_refused")
    return GradientCounts(
        **{state: count for state, count in counts.items() if state != GradientState.REFUSED},
        refused=sum(reasons.values()) + without_reason,
        refused_by_reason=reasons,
    )


def _by_state(
    database: Database, table: str, states: Sequence[StrEnum], most: StrEnum
) -> Mapping[str, int]:
    """Count the rows in `states`; all others, by far the most, are in the state `most`.

    Rows of these tables are numbered and never removed: a month's worth need not be counted.
    """
    counts = _in_states(database, table, states, f"(SELECT MAX(number) FROM {table}) AS rows")  # noqa: S608
    rows = counts.pop("rows") or 0
    return {**counts, most: rows - sum(counts.values())}


def _in_states(
    database: Database, table: str, states: Sequence[StrEnum], *more: str
) -> dict[str, int]:
    """Count the rows in each of `states`, and select `more`, all at the same moment."""
    counts = [
        f"(SELECT COUNT(*) FROM {table} WHERE {in_states(state)}) AS {state}"  # noqa: S608
        for state in states
    ]
    return dict(database.rows(f"SELECT {', '.join([*counts, *more])}")[0])  # noqa: S608

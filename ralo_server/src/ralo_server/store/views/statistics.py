"""``GET /stats``: the whole state of a run out of the store, and nothing that is not in it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from ralo_core.config import LearnerSettings, RunSettings, TrainerSettings
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


def present_state(store: Store) -> dict[str, Any]:
    """Return the answer of ``/stats``, as `docs/openapi.yaml` describes it, without its steps."""
    database = store.database
    run = store.config.section(RunSettings)
    return {
        "run": store.run.name(),
        "recipe": get_value(database, "recipe", ""),
        "model": run.model,
        "state": store.run.current(),
        "version": store.versions.newest_number(),
        "step": store.run.step(),
        "elapsed_seconds": store.run.elapsed(),
        "started": get_value(database, "started", 0.0),
        "limits": {"max_steps": run.max_steps, "max_minutes": run.max_minutes},
        **_queues(store),
        "trackers": store.records.behind(),
        "batch_trees": store.config.section(TrainerSettings).batch_trees,
        "gradients_per_step": store.config.section(LearnerSettings).gradients_per_step,
        "workers": store.workers.all(),
        "evaluations": store.evaluations.shown(_SHOWN_RESULTS),
        "evaluation": store.shards.counts(),
        "last_error": get_value(database, "last_error", ""),
    }


def _queues(store: Store) -> dict[str, Any]:
    database = store.database
    problems = _by_state(database, "problems", _PROBLEM_STATES, ProblemState.DONE)
    gradients = _by_state(database, "gradients", _GRADIENT_STATES, GradientState.APPLIED)
    return {
        "problems": {
            "issued": total(database, "problems_issued"),
            **problems,
            "total": get_value(database, "problem_count"),
        },
        "trees": {
            **_in_states(database, "trees", _TREE_STATES),
            "trained": total(database, "trees_trained"),
            "skipped": total(database, "trees_skipped"),
            "skipped_since_step": TREES.count(database, TreeState.SKIPPED),
            "capacity": store.problems.capacity,
        },
        "batches": {
            "leased": BATCHES.count(database, BatchState.LEASED),
            "empty": len(store.batches.empty()),
        },
        "gradients": {
            **{
                state: count for state, count in gradients.items() if state != GradientState.REFUSED
            },
            **_refusals(database),
        },
        "tokens": {
            "decoded": total(database, "tokens_decoded"),
            "trained": total(database, "tokens_trained"),
        },
        "rollouts": {
            "sampled": total(database, "rollouts_sampled"),
            "trained": total(database, "rollouts_trained"),
        },
    }


def _refusals(database: Database) -> dict[str, Any]:
    # What an older version counted has no reason.
    reasons = {reason: total(database, f"gradients_refused_{reason}") for reason in REASONS}
    unknown = total(database, "gradients_refused")
    return {"refused": sum(reasons.values()) + unknown, "refused_by_reason": reasons}


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

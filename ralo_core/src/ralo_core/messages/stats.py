"""The state of a run, as ``/stats`` and the event ``stats`` say it."""

from collections.abc import Mapping
from typing import Any

import attrs

from ralo_core.data import EngineReport
from ralo_core.messages.evaluations import Evaluation
from ralo_core.messages.workers import WorkerReport

Metrics = Mapping[str, Any]
"""The metrics of a step by name: numbers, None for one that is not finite. Not checked one by one,
because there are some ten thousand in a reply that is asked for twice a second."""


@attrs.frozen(kw_only=True)
class Limits:
    """Where the run ends; 0 is no limit."""

    max_steps: int
    max_minutes: float


@attrs.frozen(kw_only=True)
class ProblemCounts:
    """Problems by state; `issued` counts all, `total` is how many there are, None for no end."""

    issued: int
    waiting: int
    leased: int
    failed: int
    done: int
    total: int | None


@attrs.frozen(kw_only=True)
class TreeCounts:
    """Rollout trees by state, and how many may wait for a trainer.

    `skipped` trees had the same reward for all rollouts (``trainer.dynamic_sampling``);
    `skipped_since_step` are those that no step has counted yet.
    """

    queued: int
    leased: int
    failed: int
    discarded: int
    trained: int
    skipped: int
    skipped_since_step: int
    capacity: int


@attrs.frozen(kw_only=True)
class BatchCounts:
    """Batches under lease, and those that gave no gradient since the last step."""

    leased: int
    empty: int


@attrs.frozen(kw_only=True)
class GradientCounts:
    """Gradient uploads by state; those that an older server refused have no reason."""

    receiving: int
    pending: int
    left_out: int
    abandoned: int
    discarded: int
    applied: int
    refused: int
    refused_by_reason: Mapping[str, int]


@attrs.frozen(kw_only=True)
class TokenCounts:
    """Tokens since the run began."""

    decoded: int
    trained: int


@attrs.frozen(kw_only=True)
class RolloutCounts:
    """Rollouts since the run began."""

    sampled: int
    trained: int


@attrs.frozen(kw_only=True)
class WorkerStats(WorkerReport):
    """A worker as it said last; `state` is ``alive``, ``lost`` or ``left``, `alive` is whether it
    is the first of these."""

    id: str
    role: str
    seen_seconds_ago: float
    alive: bool
    state: str
    host: str
    pid: int = 0


@attrs.frozen(kw_only=True)
class ShardCounts:
    """Shards of evaluations by state."""

    waiting: int
    leased: int
    reported: int


@attrs.frozen(kw_only=True)
class TrackerBacklog:
    """What a tracker has not taken yet: how many records, and how long the oldest has waited."""

    waiting: int
    seconds: float


@attrs.frozen(kw_only=True)
class RunStats:
    """The state of a run without its steps: data of the event ``stats`` of ``GET /events``.

    `version` is -1 before the first; `elapsed_seconds` are those of work, pauses between starts not
    counted; `started` is unix time in seconds. Of each benchmark `evaluations` has at most 200
    results, evenly spread, the first and the last among them. `trackers` has what each has not
    taken yet. `bottleneck` is a sentence: what limits the run, and what helps; every view shows it.
    """

    run: str
    recipe: str
    model: str
    state: str
    version: int
    step: int
    elapsed_seconds: float
    started: float
    limits: Limits
    problems: ProblemCounts
    trees: TreeCounts
    batches: BatchCounts
    gradients: GradientCounts
    tokens: TokenCounts
    rollouts: RolloutCounts
    trackers: Mapping[str, TrackerBacklog]
    batch_trees: int
    gradients_per_step: int
    workers: tuple[WorkerStats, ...]
    evaluations: tuple[Evaluation, ...]
    evaluation: ShardCounts
    bottleneck: str
    last_error: str

    def engines(self) -> list[EngineReport]:
        """Return what the samplers that are here say of their engines."""
        here = (worker.engine for worker in self.workers if worker.alive)
        return [engine for engine in here if engine is not None]


@attrs.frozen(kw_only=True)
class Stats(RunStats):
    """Reply of ``GET /stats``.

    `steps` has the metrics of at most 200 steps, evenly spread, the first and the last among them;
    only the last has metrics whose names are in parts, such as ``stop/eos``.
    """

    steps: tuple[Metrics, ...]

    def metric(self, name: str) -> list[float]:
        """Return the values of a metric, of those shown steps that have it."""
        found = (step.get(name) for step in self.steps)
        return [value for value in found if value is not None]

    def last(self, name: str) -> float | None:
        """Return a metric of the last step, None where it has none."""
        return self.steps[-1].get(name) if self.steps else None

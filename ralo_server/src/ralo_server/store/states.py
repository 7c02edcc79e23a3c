"""The states of everything in state.db, each beside the changes that are allowed.

All of them are on this page because tables are read together: what a problem may do depends on how
many trees are queued. Each table is written by one module, the one that is named for it.
docs/architecture.md draws the same as diagrams; a test compares them.
"""

from enum import StrEnum

from ralo_server.store.lifecycle import Lifecycle


class ProblemState(StrEnum):
    """A problem waits for a sampler, is leased to one, and is done once its tree is stored."""

    WAITING = "waiting"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"


PROBLEMS = Lifecycle(
    table="problems",
    created=[ProblemState.WAITING],
    transitions={
        ProblemState.WAITING: [ProblemState.LEASED],
        ProblemState.LEASED: [ProblemState.WAITING, ProblemState.DONE, ProblemState.FAILED],
        ProblemState.DONE: [ProblemState.WAITING],  # its tree was discarded
        ProblemState.FAILED: [],
    },
)


class TreeState(StrEnum):
    """A tree waits for a trainer, is in a leased batch, and is trained with its gradient."""

    QUEUED = "queued"
    SKIPPED = "skipped"
    LEASED = "leased"
    TRAINED = "trained"
    FAILED = "failed"
    DISCARDED = "discarded"


TREES = Lifecycle(
    table="trees",
    created=[TreeState.QUEUED, TreeState.SKIPPED],
    transitions={
        TreeState.QUEUED: [TreeState.LEASED, TreeState.DISCARDED],
        TreeState.SKIPPED: [],
        TreeState.LEASED: [TreeState.QUEUED, TreeState.TRAINED, TreeState.FAILED],
        TreeState.TRAINED: [TreeState.QUEUED],  # the gradient of its batch was discarded
        TreeState.FAILED: [],
        TreeState.DISCARDED: [],
    },
    removed=[TreeState.TRAINED, TreeState.SKIPPED],
)


class BatchState(StrEnum):
    """A batch is leased to a trainer, and ends by its gradient, by time, or because it is returned;
    one whose gradient a rollback discards ends too, as `EXPIRED`: its trees are queued again."""

    LEASED = "leased"
    DONE = "done"
    EMPTY = "empty"
    FAILED = "failed"
    EXPIRED = "expired"


BATCHES = Lifecycle(
    table="batches",
    created=[BatchState.LEASED],
    transitions={
        BatchState.LEASED: [
            BatchState.DONE,
            BatchState.EMPTY,
            BatchState.FAILED,
            BatchState.EXPIRED,
        ],
        BatchState.DONE: [BatchState.EXPIRED],  # its gradient was discarded
        BatchState.EMPTY: [],
        BatchState.FAILED: [],
        BatchState.EXPIRED: [],
    },
)


class GradientState(StrEnum):
    """A gradient is received in chunks, waits for a step, and is consumed by one."""

    RECEIVING = "receiving"
    PENDING = "pending"
    APPLIED = "applied"
    LEFT_OUT = "left_out"
    REFUSED = "refused"
    ABANDONED = "abandoned"
    DISCARDED = "discarded"


GRADIENTS = Lifecycle(
    table="gradients",
    created=[GradientState.RECEIVING],
    transitions={
        GradientState.RECEIVING: [
            GradientState.PENDING,
            GradientState.REFUSED,
            GradientState.ABANDONED,
        ],
        GradientState.PENDING: [
            GradientState.APPLIED,
            GradientState.LEFT_OUT,
            GradientState.DISCARDED,
        ],
        GradientState.APPLIED: [],
        GradientState.LEFT_OUT: [],
        GradientState.REFUSED: [],
        GradientState.ABANDONED: [],
        GradientState.DISCARDED: [],
    },
)


class VersionState(StrEnum):
    """The files of a published version are there; those of a pruned one are not."""

    PUBLISHED = "published"
    PRUNED = "pruned"


VERSIONS = Lifecycle(
    table="versions",
    created=[VersionState.PUBLISHED],
    transitions={
        VersionState.PUBLISHED: [VersionState.PRUNED],
        VersionState.PRUNED: [],
    },
)


class EvaluationState(StrEnum):
    """An evaluation is open until its last shard is reported."""

    OPEN = "open"
    REPORTED = "reported"


EVALUATIONS = Lifecycle(
    table="evaluations",
    created=[EvaluationState.OPEN],
    transitions={
        EvaluationState.OPEN: [EvaluationState.REPORTED],
        EvaluationState.REPORTED: [],
    },
    removed=[EvaluationState.OPEN, EvaluationState.REPORTED],
)


class ShardState(StrEnum):
    """A shard of an evaluation waits for a sampler, is leased to one, and has its responses."""

    WAITING = "waiting"
    LEASED = "leased"
    REPORTED = "reported"


SHARDS = Lifecycle(
    table="evaluation_shards",
    created=[ShardState.WAITING],
    transitions={
        ShardState.WAITING: [ShardState.LEASED],
        ShardState.LEASED: [ShardState.WAITING, ShardState.REPORTED],
        ShardState.REPORTED: [],
    },
    removed=[ShardState.WAITING, ShardState.LEASED, ShardState.REPORTED],
)


class WorkerState(StrEnum):
    """A worker is alive while it is heard, lost when it falls silent, left when it says so."""

    ALIVE = "alive"
    LOST = "lost"
    LEFT = "left"


WORKERS = Lifecycle(
    table="workers",
    created=[WorkerState.ALIVE],
    transitions={
        WorkerState.ALIVE: [WorkerState.LOST, WorkerState.LEFT],
        WorkerState.LOST: [WorkerState.ALIVE, WorkerState.LEFT],
        WorkerState.LEFT: [WorkerState.ALIVE],
    },
    removed=[WorkerState.LOST, WorkerState.LEFT],
)


class RunState(StrEnum):
    """A run trains, hands out no more problems, waits for its last evaluations, is over."""

    RUNNING = "running"
    DRAINING = "draining"
    EVALUATING = "evaluating"
    FINISHED = "finished"


RUN_TRANSITIONS = {
    RunState.RUNNING: [RunState.DRAINING, RunState.EVALUATING],
    RunState.DRAINING: [RunState.EVALUATING, RunState.RUNNING],
    RunState.EVALUATING: [RunState.FINISHED, RunState.RUNNING],
    RunState.FINISHED: [RunState.RUNNING],
}
"""A run is no row: its state is a value of `run_values`, which `run_state` writes."""

LIFECYCLES = (PROBLEMS, TREES, BATCHES, GRADIENTS, VERSIONS, EVALUATIONS, SHARDS, WORKERS)

"""The state of a run that has done nothing yet, for tests that need one and no store."""

from ralo_core.messages.stats import (
    BatchCounts,
    GradientCounts,
    Limits,
    ProblemCounts,
    RolloutCounts,
    RunStats,
    ShardCounts,
    TokenCounts,
    TreeCounts,
)


def run_stats(**changes):
    fields = {
        "run": "r",
        "recipe": "",
        "model": "m",
        "state": "running",
        "version": 0,
        "step": 0,
        "elapsed_seconds": 0.0,
        "started": 0.0,
        "limits": Limits(max_steps=0, max_minutes=0.0),
        "problems": ProblemCounts(issued=0, waiting=0, leased=0, failed=0, done=0, total=None),
        "trees": TreeCounts(
            queued=0,
            leased=0,
            failed=0,
            discarded=0,
            trained=0,
            skipped=0,
            skipped_since_step=0,
            capacity=8,
        ),
        "batches": BatchCounts(leased=0, empty=0),
        "gradients": GradientCounts(
            receiving=0,
            pending=0,
            left_out=0,
            abandoned=0,
            discarded=0,
            applied=0,
            refused=0,
            refused_by_reason={},
        ),
        "tokens": TokenCounts(decoded=0, trained=0),
        "rollouts": RolloutCounts(sampled=0, trained=0),
        "trackers": {},
        "batch_trees": 1,
        "gradients_per_step": 1,
        "workers": (),
        "evaluations": (),
        "evaluation": ShardCounts(waiting=0, leased=0, reported=0),
        "bottleneck": "",
        "last_error": "",
    }
    return RunStats(**{**fields, **changes})

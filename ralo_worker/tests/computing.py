"""The trainer's own way to a gradient with given parts in place of a config's: for tests of its
numerics."""

import attrs

from ralo_worker.trainer.compute.gradient_sums import gradient_sums
from ralo_worker.trainer.compute.objective import Objective
from ralo_worker.trainer.layout.batch_planner import BatchPlanner
from ralo_worker.trainer.parallel.data_parallel import AccumulatedGradient, DataParallel


@attrs.frozen
class Given:
    """An advantage estimator that returns what it was given."""

    advantages: list

    def estimate(self, trees):
        assert len(trees) == len(self.advantages)
        return self.advantages


def parallel_of(
    policy, loss, *, advantages=(), corrections=None, regulariser=None, offloaded=False,
    microbatch_tokens=10_000, shared_tokens=0, pair_cost=0.0,
):  # fmt: skip
    """What `open_data_parallel` opens for a trainer of one rank, of these parts."""
    return DataParallel(
        planner=BatchPlanner(
            advantage=Given(advantages), loss=loss, every_row=regulariser is not None,
            microbatch_tokens=microbatch_tokens, shared_tokens=shared_tokens, pair_cost=pair_cost,
        ),
        objective=Objective(
            policy=policy, gradients=gradient_sums(policy, offloaded), loss=loss,
            corrections=corrections or {}, regulariser=regulariser,
        ),
    )  # fmt: skip


def gradient_over(policy, loss, batches, left_out=0.0, corrections=None, regulariser=None):
    """The gradient over these micro-batches, by the two calls that a trainer makes for its own:
    `Objective.accumulate` and `DataParallel.reduce`."""
    parallel = parallel_of(policy, loss, corrections=corrections, regulariser=regulariser)
    totals = parallel.objective.accumulate(batches)
    weight = totals.normaliser + left_out
    return parallel.reduce(AccumulatedGradient(totals=totals, weight=weight))

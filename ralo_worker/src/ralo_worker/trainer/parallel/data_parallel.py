"""The gradient of a batch by all ranks of a group: plan, split, compute, add up.

Every rank makes the same plan of the whole batch and computes its share of the packs, without a
word to the others until the last micro-batch. Neighbours: `objective` computes, `shares` splits,
`reduction` adds up, `runtime` gives the batch.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

import attrs

from ralo_core import RolloutTree
from ralo_worker.membership import Activity
from ralo_worker.trainer.compute.batch_totals import BatchTotals
from ralo_worker.trainer.compute.gradient import Gradient
from ralo_worker.trainer.compute.objective import Objective
from ralo_worker.trainer.exchange.phases import Phases
from ralo_worker.trainer.parallel.group import Group
from ralo_worker.trainer.parallel.reduction import owners_of, reduced
from ralo_worker.trainer.parallel.stop_check import Halted

R = TypeVar("R")


@attrs.frozen(kw_only=True, eq=False)
class AccumulatedGradient:
    """What a batch has come to on all ranks, whose gradient sums each rank has by itself yet; the
    gradient is their sum over `weight`."""

    sums: BatchTotals
    weight: float


@attrs.frozen(kw_only=True, eq=False)
class DataParallel:
    """`objective` on the ranks of `group`, by default this process alone; `owned_by` says which
    rank gets the gradient of which parameter."""

    objective: Objective
    group: Group = attrs.field(factory=Group)
    phases: Phases = attrs.field(factory=lambda: Phases(Activity()))
    owned_by: Mapping[str, int] = attrs.field(
        init=False,
        default=attrs.Factory(
            lambda self: owners_of(self.objective.gradients, self.group), takes_self=True
        ),
    )

    def gradient(self, trees: Sequence[RolloutTree], version: int) -> Gradient | None:
        """Return the gradient of `trees` at the policy's weights, which are those of `version`,
        with the tensors that this rank owns; weight and metrics are those of all.

        None if nothing has a gradient, because every advantage is zero. Raises `Halted` on all
        ranks if one was told to stop.
        """
        summed = self.summed(trees, version)
        if summed is None:
            return None
        with self.phases("reduce"):
            gradients = self.objective.gradients
            tensors = reduced(gradients, self.group, self.owned_by, summed.weight)
        metrics = summed.sums.mean_metrics()
        return Gradient(tensors=tensors, weight=summed.weight, metrics=metrics)

    def summed(self, trees: Sequence[RolloutTree], version: int) -> AccumulatedGradient | None:
        """Let the objective's `gradients` hold this rank's part of the gradient sums of `trees`;
        return what they are to be divided by. None and `Halted` as `gradient`."""
        objective, group = self.objective, self.group
        with self.phases("compute"):
            plan = objective.plan(trees)
            if not plan.packs:
                return None
            mine = objective.share(plan, group.rank, group.size)
        parts = self._everywhere(lambda: objective.survey(mine, version))
        objective.show([part for some in parts for part in some])
        sums = BatchTotals().merged(self._everywhere(lambda: objective.accumulate(mine, version)))
        return AccumulatedGradient(sums=sums, weight=sums.normaliser + plan.left_out)

    def _everywhere(self, compute: Callable[[], R]) -> list[R]:
        """Return what `compute` gives on every rank. Raises `Halted` if it did on any."""
        found: R | None = None
        with self.phases("compute"), suppress(Halted):
            found = compute()
        with self.phases("reduce"):
            everyone = [each for each in self.group.control.gather(found) if each is not None]
        if len(everyone) < self.group.size:
            raise Halted
        return everyone

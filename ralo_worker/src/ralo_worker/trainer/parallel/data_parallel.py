"""The gradient of a batch by all ranks of a group: plan, split, compute, add up.

Every rank makes the same plan of the whole batch and computes its shard of the packs. Ranks that
hold the whole policy send nothing to each other until their last micro-batch is done. One process
is a group of one rank.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import attrs

from ralo_core import BuildContext, RolloutTree
from ralo_core.config import Config, RegularisationSettings, TrainerSettings
from ralo_worker.membership import Activity
from ralo_worker.trainer.compute.batch_totals import BatchTotals
from ralo_worker.trainer.compute.gradient import Gradient
from ralo_worker.trainer.compute.gradient_sums import gradient_sums
from ralo_worker.trainer.compute.model import WithoutAdapter, attends_fully, pair_cost
from ralo_worker.trainer.compute.objective import Objective
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.compute.regularisation import Regulariser
from ralo_worker.trainer.layout.batch_planner import BatchPlanner, Plan
from ralo_worker.trainer.layout.micro_batches import MicroBatch
from ralo_worker.trainer.layout.token_budget import TokenBudget
from ralo_worker.trainer.parallel.group import Group
from ralo_worker.trainer.parallel.micro_batch_schedule import MicroBatchSchedule, RankShard
from ralo_worker.trainer.parallel.rank_shards import split_packs
from ralo_worker.trainer.parallel.reduction import owners_of, reduced
from ralo_worker.trainer.parallel.stop_check import Halted, StopCheck
from ralo_worker.trainer.phases import Phases

R = TypeVar("R")
MicroBatchWork = Callable[[Iterable[MicroBatch]], R]


@attrs.frozen(kw_only=True, eq=False)
class AccumulatedGradient:
    """A batch that is computed, while its gradient still lies in sums on the ranks: the gradient is
    the sum of those over `weight`; `totals` are of all ranks."""

    totals: BatchTotals
    weight: float


@attrs.frozen(kw_only=True, eq=False)
class DataParallel:
    """What `planner` makes of a batch, computed with `objective` on the ranks of `group`.

    `stop` is asked before every micro-batch; `budget` is what this process has learnt of its
    memory; `owned_by` is the rank that gets the gradient of a parameter, by name.
    """

    planner: BatchPlanner
    objective: Objective
    group: Group = attrs.field(factory=Group)
    stop: StopCheck = attrs.field(factory=StopCheck)
    phases: Phases = attrs.field(factory=lambda: Phases(Activity()))
    budget: TokenBudget = attrs.field(init=False)
    owned_by: Mapping[str, int] = attrs.field(init=False)

    @budget.default
    def _budget(self) -> TokenBudget:
        return TokenBudget(self.planner.microbatch_tokens)

    @owned_by.default
    def _owned_by(self) -> Mapping[str, int]:
        return owners_of(self.objective.gradients, self.group)

    def gradient(self, trees: Sequence[RolloutTree], version: int) -> Gradient | None:
        """Return the gradient of `trees` at the policy's weights, which are those of `version`,
        with the tensors that this rank owns; weight and metrics are those of all.

        None if nothing has a gradient, because every advantage is zero. Raises `Halted` on all
        ranks if one was told to stop.
        """
        accumulated = self.accumulate(trees, version)
        return None if accumulated is None else self.reduce(accumulated)

    def accumulate(self, trees: Sequence[RolloutTree], version: int) -> AccumulatedGradient | None:
        """Add up this rank's part of the gradient of `trees` in the objective's `gradients`, and
        return what it is to be divided by. None and `Halted` as `gradient`."""
        with self.phases("compute"):
            plan = self.planner.plan(trees)
            if not plan.packs:
                return None
            shard = self._shard(plan)
        objective = self.objective
        if objective.surveys:
            # An idle rank runs the same forward pass and forgets what it gave.
            parts = self._on_all_ranks(
                shard, version, objective.survey, lambda batch: objective.survey([batch])
            )
            objective.observe([part for some in parts for part in some])
        found = self._on_all_ranks(shard, version, objective.accumulate, objective.run_idle)
        totals = BatchTotals().merged(found)
        return AccumulatedGradient(totals=totals, weight=totals.normaliser + plan.left_out)

    def reduce(self, accumulated: AccumulatedGradient) -> Gradient:
        """Return the gradient that was accumulated, with the tensors that this rank owns; the sums
        are clear afterwards."""
        with self.phases("reduce"):
            gradients = self.objective.gradients
            tensors = reduced(gradients, self.group, self.owned_by, accumulated.weight)
        metrics = accumulated.totals.mean_metrics()
        return Gradient(tensors=tensors, weight=accumulated.weight, metrics=metrics)

    def _shard(self, plan: Plan) -> RankShard:
        shards = split_packs(plan.packs, self.group.size, self.planner.pair_cost)
        spare = min(plan.packs, key=lambda pack: len(pack.tokens))
        return RankShard(self.planner.joined(shards[self.group.rank]), spare)

    def _on_all_ranks(
        self,
        shard: RankShard,
        version: int,
        work: MicroBatchWork[R],
        idle: Callable[[MicroBatch], object],
    ) -> list[R]:
        """Return what `work` gives for the micro-batches of every rank; `idle` is called with those
        that only keep a rank in step. Raises `Halted` if any rank was told to stop."""
        found: R | None = None
        with self.phases("compute"), suppress(Halted):
            found = self._run(shard, version, work, idle)
        with self.phases("reduce"):
            everyone = [each for each in self.group.control.gather(found) if each is not None]
        if len(everyone) < self.group.size:
            raise Halted
        return everyone

    def _run(
        self,
        shard: RankShard,
        version: int,
        work: MicroBatchWork[R],
        idle: Callable[[MicroBatch], object],
    ) -> R:
        if not self.stop.in_step:
            return self.budget.run(partial(self._schedule, shard, version), work)
        # To begin anew all ranks would have to, and one that ran out of memory cannot tell them.
        schedule = self._schedule(shard, version, self.budget.tokens)
        found = work(schedule)
        for batch in schedule.idle():
            idle(batch)
        return found

    def _schedule(self, shard: RankShard, version: int, tokens: int) -> MicroBatchSchedule:
        if tokens < self.planner.microbatch_tokens:
            shard = attrs.evolve(shard, packs=self.planner.cut_smaller(shard.packs, tokens))
        return MicroBatchSchedule(shard, tokens, version, self.stop)


def open_data_parallel(
    config: Config,
    policy: Policy,
    reference: Policy | WithoutAdapter | None = None,
    *,
    group: Group | None = None,
    stop: StopCheck | None = None,
    phases: Phases | None = None,
) -> DataParallel:
    """Return what computes the gradients of `config`'s trainer for `policy`.

    `reference` is the policy that a KL is measured to, None where none is asked for. Both are as
    they are trained: sharded, if at all. By default this process is alone.
    """
    settings = config.section(TrainerSettings)
    context, terms = BuildContext(role="trainer"), config.section(RegularisationSettings)
    loss = config.build("loss", context)
    regulariser = None
    if terms.kl or terms.entropy:
        regulariser = Regulariser(settings=terms, loss=loss, reference=reference)
    return DataParallel(
        planner=BatchPlanner(
            advantage=config.build("advantage", context),
            loss=loss,
            every_row=regulariser is not None,
            microbatch_tokens=settings.microbatch_tokens,
            shared_tokens=settings.shared_tokens if attends_fully(policy.model) else 0,
            pair_cost=pair_cost(policy.model),
        ),
        objective=Objective(
            policy=policy,
            gradients=gradient_sums(policy, settings.offload_gradients),
            loss=loss,
            corrections=config.build_pipeline("correction", context),
            regulariser=regulariser,
        ),
        group=group or Group(),
        stop=stop or StopCheck(),
        phases=phases or Phases(Activity()),
    )

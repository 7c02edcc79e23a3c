"""From scored trees to a gradient: what the run's recipe makes of them.

    trees -> advantages -> rows (responses) -> packs (a shared prefix once) -> micro-batches
          -> log-probs, corrections, loss, regularisation -> gradient

Neighbours: the modules beside this one are the steps, `together` takes them on every rank. It knows
neither HTTP nor where weights come from, nor what other ranks do.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import attrs

from ralo_core import BuildContext, RolloutTree
from ralo_core.config import Config, RegularisationSettings, TrainerSettings
from ralo_core.protocols import AdvantageEstimator, Correction, Loss
from ralo_worker.trainer.compute.batch_totals import BatchTotals
from ralo_worker.trainer.compute.gradient import accumulate, idle
from ralo_worker.trainer.compute.gradient_sums import GradientSums, gradient_sums
from ralo_worker.trainer.compute.model import WithoutAdapter, attends_fully, pair_cost
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.compute.regularisation import Regulariser
from ralo_worker.trainer.compute.survey import Part, asks, show, surveyed
from ralo_worker.trainer.layout.forests import make_forests
from ralo_worker.trainer.layout.micro_batches import MicroBatch
from ralo_worker.trainer.layout.packs import Pack, make_packs
from ralo_worker.trainer.layout.rows import Row, make_rows, without_zeros
from ralo_worker.trainer.layout.token_budget import TokenBudget
from ralo_worker.trainer.parallel.micro_batch_schedule import MicroBatchSchedule, Share
from ralo_worker.trainer.parallel.rank_shards import split_packs
from ralo_worker.trainer.parallel.stop_check import StopCheck

R = TypeVar("R")


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be computed of a batch: `packs`, none where nothing has a gradient. `left_out` is
    the normaliser of the rows that are in none, because their gradient is zero."""

    packs: Sequence[Pack]
    left_out: float


@attrs.frozen(kw_only=True)
class Objective:
    """The parts that a run chose, over `policy`, whose weights may change between calls.

    Every rank of a trainer makes the same `plan` and calls `survey`, `show` and `accumulate` for
    its share of it; `together` does so. `gradients` reads what `accumulate` added up; `budget` is
    what this process has learnt of its memory; `pace` says when to stop.
    """

    policy: Policy
    gradients: GradientSums
    budget: TokenBudget
    settings: TrainerSettings
    advantage: AdvantageEstimator
    loss: Loss
    corrections: Mapping[str, Correction]
    regulariser: Regulariser | None = None
    pace: StopCheck = attrs.field(factory=StopCheck)

    def plan(self, trees: Sequence[RolloutTree]) -> Plan:
        """Return what is computed of `trees`: the same for the same trees and settings."""
        rows: Sequence[Row] = make_rows(trees, self.advantage.estimate(trees))
        left_out = 0.0
        if self.regulariser is None:
            rows, left_out = without_zeros(rows, self.loss)
        packs = self._packs(rows, self.settings.microbatch_tokens) if rows else ()
        return Plan(packs=packs, left_out=left_out)

    def share(self, plan: Plan, rank: int = 0, ranks: int = 1) -> Share:
        """Return what `rank` of so many computes of a plan that has packs."""
        mine = split_packs(plan.packs, ranks, pair_cost(self.policy.model))[rank]
        spare = min(plan.packs, key=lambda pack: len(pack.tokens))
        return Share(self._joined(mine, self.settings.microbatch_tokens), spare)

    def survey(self, share: Share, version: int) -> list[Part]:
        """Return what the corrections must see of a share before any `accumulate`; nothing where
        none asks."""
        if not asks(self.corrections.values()):
            return []
        look = partial(surveyed, self.policy)
        return self._take_turns(share, version, look, lambda batch: look([batch]))

    def show(self, parts: Sequence[Part]) -> None:
        """Let the corrections see what the surveys of all packs of a batch gave."""
        show(parts, self.corrections.values())

    def accumulate(self, share: Share, version: int) -> BatchTotals:
        """Clear `gradients`, put the gradient sums of a share there, and return what else it came
        to. It starts anew with smaller micro-batches where memory runs out."""
        rest = partial(idle, self.policy, self.regulariser)
        return self._take_turns(share, version, self._accumulated, rest)

    def _accumulated(self, batches: Iterable[MicroBatch]) -> BatchTotals:
        self.gradients.clear()
        return accumulate(self.policy, self.loss, batches, self.corrections, self.regulariser)

    def _take_turns(
        self,
        share: Share,
        version: int,
        work: Callable[[Iterable[MicroBatch]], R],
        rest: Callable[[MicroBatch], object],
    ) -> R:
        """Return what `work` makes of a share; `rest` is what idle turns are spent with."""
        if not self.pace.common:
            return self.budget.run(partial(self._turns, share, version), work)
        # To begin anew all ranks would have to, and one that ran out of memory cannot tell them.
        turns = self._turns(share, version, self.budget.tokens)
        found = work(turns)
        for batch in turns.idle():
            rest(batch)
        return found

    def _turns(self, share: Share, version: int, tokens: int) -> MicroBatchSchedule:
        if tokens < self.settings.microbatch_tokens:  # the packs were planned for more memory
            rows = [row for pack in share.packs for row in pack.rows]
            share = attrs.evolve(share, packs=self._joined(self._packs(rows, tokens), tokens))
        return MicroBatchSchedule(share, tokens, version, self.pace)

    def _packs(self, rows: Sequence[Row], tokens: int) -> list[Pack]:
        return list(make_packs(rows, self._limit(tokens), pair_cost(self.policy.model)))

    def _joined(self, packs: Sequence[Pack], tokens: int) -> Sequence[Pack]:
        if not packs:
            return packs
        return make_forests(packs, self._limit(tokens), tokens, pair_cost(self.policy.model))

    def _limit(self, tokens: int) -> int:
        """Return the most tokens of a pack, where a micro-batch has `tokens`."""
        return min(self.settings.shared_tokens, tokens) if attends_fully(self.policy.model) else 0


def open_objective(
    config: Config,
    policy: Policy,
    reference: Policy | WithoutAdapter | None,
    pace: StopCheck | None = None,
) -> Objective:
    """Return what `config` says of the trainer, for `policy`; `reference` is the policy that a KL
    is measured to, None where none is asked for. Both as they are trained: sharded, if at all.
    `pace` is that of the trainer."""
    settings = config.section(TrainerSettings)
    context, terms = BuildContext(role="trainer"), config.section(RegularisationSettings)
    loss = config.build("loss", context)
    regulariser = None
    if terms.kl or terms.entropy:
        regulariser = Regulariser(settings=terms, loss=loss, reference=reference)
    return Objective(
        policy=policy,
        gradients=gradient_sums(policy, settings.offload_gradients),
        budget=TokenBudget(settings.microbatch_tokens),
        settings=settings,
        advantage=config.build("advantage", context),
        loss=loss,
        corrections=config.build_pipeline("correction", context),
        regulariser=regulariser,
        pace=pace or StopCheck(),
    )

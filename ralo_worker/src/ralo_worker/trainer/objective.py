"""From scored trees to a gradient: what the run's recipe makes of them.

    trees -> advantages -> rows (responses) -> packs (a shared prefix once) -> micro-batches
          -> log-probs, corrections, loss, regularisation -> gradient

Neighbours: the modules beside this one are the steps, `together` takes them on every rank. It knows
neither HTTP nor where weights come from, nor what other ranks do.
"""

from collections.abc import Mapping, Sequence

import attrs

from ralo_core import BuildContext, RolloutTree
from ralo_core.config import Config, RegularisationSettings, TrainerSettings
from ralo_core.protocols import AdvantageEstimator, Correction, Loss
from ralo_worker.trainer.forests import make_forests
from ralo_worker.trainer.gradient import accumulate, idle
from ralo_worker.trainer.gradient_sums import GradientSums
from ralo_worker.trainer.model import attends_fully, pair_cost
from ralo_worker.trainer.pace import Pace
from ralo_worker.trainer.packs import Pack, make_packs
from ralo_worker.trainer.policy import Policy
from ralo_worker.trainer.regularisation import Regulariser
from ralo_worker.trainer.rows import Row, make_rows, without_zeros
from ralo_worker.trainer.shares import split_packs
from ralo_worker.trainer.sums import Sums
from ralo_worker.trainer.survey import Part, asks, show, surveyed
from ralo_worker.trainer.turns import Share, Turns


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
    its share of the packs; `together` does so. `pace` says when to stop.
    """

    policy: Policy
    settings: TrainerSettings
    advantage: AdvantageEstimator
    loss: Loss
    corrections: Mapping[str, Correction]
    regulariser: Regulariser | None = None
    pace: Pace = attrs.field(factory=Pace)

    def plan(self, trees: Sequence[RolloutTree]) -> Plan:
        """Return how `trees` are computed: the same for the same trees and settings."""
        rows: Sequence[Row] = make_rows(trees, self.advantage.estimate(trees))
        left_out = 0.0
        if self.regulariser is None:
            rows, left_out = without_zeros(rows, self.loss)
        return Plan(packs=self._packs(rows) if rows else (), left_out=left_out)

    def survey(self, share: Share, version: int) -> list[Part]:
        """Return what the corrections must see of a share before any `accumulate`; nothing where
        none asks."""
        if not asks(self.corrections.values()):
            return []
        turns = self._turns(share, version)
        parts = surveyed(self.policy, turns)
        for batch in turns.idle():
            surveyed(self.policy, [batch])
        return parts

    def show(self, parts: Sequence[Part]) -> None:
        """Let the corrections see what the surveys of all packs of a batch gave."""
        show(parts, self.corrections.values())

    def accumulate(self, share: Share, version: int) -> Sums:
        """Clear the policy's `GradientSums`, put the gradient sum of a share there, and return
        what else it came to."""
        GradientSums(self.policy).clear()
        turns = self._turns(share, version)
        sums = accumulate(self.policy, self.loss, turns, self.corrections, self.regulariser)
        for batch in turns.idle():
            idle(self.policy, batch, self.regulariser)
        return sums

    def _turns(self, share: Share, version: int) -> Turns:
        return Turns(share, self.settings.microbatch_tokens, version, self.pace)

    def share(self, plan: Plan, rank: int = 0, ranks: int = 1) -> Share:
        """Return what `rank` of so many computes."""
        limit, most, cost = self._limits()
        mine = split_packs(plan.packs, ranks, cost)[rank]
        spare = min(plan.packs, key=lambda pack: len(pack.tokens))
        return Share(make_forests(mine, limit, most, cost) if mine else [], spare)

    def _packs(self, rows: Sequence[Row]) -> list[Pack]:
        limit, _, cost = self._limits()
        return list(make_packs(rows, limit, cost))

    def _limits(self) -> tuple[int, int, float]:
        """Return the most tokens of a pack and of a micro-batch, and what a pair costs."""
        limit = self.settings.shared_tokens if attends_fully(self.policy.model) else 0
        return limit, self.settings.microbatch_tokens, pair_cost(self.policy.model)


def open_objective(
    config: Config, policy: Policy, reference: Policy | None, pace: Pace | None = None
) -> Objective:
    """Return what `config` says of the trainer, for `policy`; `reference` is the policy that a KL
    is measured to, None where none is asked for. `pace` is that of the trainer."""
    context, terms = BuildContext(role="trainer"), config.section(RegularisationSettings)
    loss = config.build("loss", context)
    regulariser = None
    if terms.kl or terms.entropy:
        regulariser = Regulariser(settings=terms, loss=loss, reference=reference)
    return Objective(
        policy=policy,
        settings=config.section(TrainerSettings),
        advantage=config.build("advantage", context),
        loss=loss,
        corrections=config.build_pipeline("correction", context),
        regulariser=regulariser,
        pace=pace or Pace(),
    )

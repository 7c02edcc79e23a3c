"""From scored trees to a gradient: what the run's recipe makes of them.

    trees -> advantages -> rows (responses) -> packs (a shared prefix once) -> micro-batches
          -> log-probs, corrections, loss, regularisation -> gradient

Neighbours: the modules beside this one are the steps, `runtime` asks for a gradient per leased
batch. It knows neither HTTP nor where weights come from.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import attrs

from ralo_core import BuildContext, RolloutTree
from ralo_core.config import Config, RegularisationSettings, TrainerSettings
from ralo_core.protocols import AdvantageEstimator, Correction, Loss
from ralo_worker.trainer.forests import make_forests
from ralo_worker.trainer.gradient import Gradient, accumulate, divided
from ralo_worker.trainer.gradient_sums import GradientSums, gradient_sums
from ralo_worker.trainer.memory_limit import TokenBudget
from ralo_worker.trainer.micro_batches import MicroBatch, micro_batches
from ralo_worker.trainer.model import attends_fully, pair_cost
from ralo_worker.trainer.packs import Pack, make_packs
from ralo_worker.trainer.policy import Policy
from ralo_worker.trainer.regularisation import Regulariser
from ralo_worker.trainer.rows import Row, make_rows, without_zeros
from ralo_worker.trainer.sums import Sums
from ralo_worker.trainer.survey import Part, asks, show, surveyed


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be computed of a batch: `packs`, none where nothing has a gradient. `left_out` is
    the normaliser of the rows that are in none, because their gradient is zero."""

    packs: Sequence[Pack]
    left_out: float


@attrs.frozen(kw_only=True)
class Objective:
    """The parts that a run chose, over `policy`, whose weights may change between calls.

    `gradients` reads what `accumulate` added up; `budget` is what this process has learnt of its
    memory. A trainer by itself asks for the `gradient`. Ranks make the same `plan`, and each calls
    `survey`, `show` and `accumulate` for its share of the packs.
    """

    policy: Policy
    gradients: GradientSums
    budget: TokenBudget
    settings: TrainerSettings
    advantage: AdvantageEstimator
    loss: Loss
    corrections: Mapping[str, Correction]
    regulariser: Regulariser | None = None

    def gradient(self, trees: Sequence[RolloutTree], version: int) -> Gradient | None:
        """Return the gradient of `trees` at the policy's weights, which are those of `version`.

        None if nothing has a gradient, because every advantage is zero.
        """
        plan = self.plan(trees)
        if not plan.packs:
            return None
        self.show(self.survey(plan.packs, version))
        return divided(self.gradients, self.accumulate(plan.packs, version), plan.left_out)

    def plan(self, trees: Sequence[RolloutTree]) -> Plan:
        """Return how `trees` are computed: the same for the same trees and settings."""
        rows: Sequence[Row] = make_rows(trees, self.advantage.estimate(trees))
        left_out = 0.0
        if self.regulariser is None:
            rows, left_out = without_zeros(rows, self.loss)
        packs = self._packs(rows, self.settings.microbatch_tokens) if rows else ()
        return Plan(packs=packs, left_out=left_out)

    def survey(self, packs: Sequence[Pack], version: int) -> list[Part]:
        """Return what the corrections must see of `packs` before any `accumulate`; nothing where
        none asks."""
        if not asks(self.corrections.values()):
            return []
        return self.budget.run(partial(self._cut, packs, version), partial(surveyed, self.policy))

    def show(self, parts: Sequence[Part]) -> None:
        """Let the corrections see what the surveys of all packs of a batch gave."""
        show(parts, self.corrections.values())

    def accumulate(self, packs: Sequence[Pack], version: int) -> Sums:
        """Clear `gradients`, put the gradient sums of `packs` there, and return what else they
        came to. It starts anew with smaller micro-batches where memory runs out."""
        return self.budget.run(partial(self._cut, packs, version), self._accumulated)

    def _accumulated(self, batches: Iterable[MicroBatch]) -> Sums:
        self.gradients.clear()
        return accumulate(self.policy, self.loss, batches, self.corrections, self.regulariser)

    def _cut(self, packs: Sequence[Pack], version: int, tokens: int) -> Iterator[MicroBatch]:
        if tokens < self.settings.microbatch_tokens:  # the packs were planned for more memory
            packs = self._packs([row for pack in packs for row in pack.rows], tokens)
        return micro_batches(packs, tokens, version)

    def _packs(self, rows: Sequence[Row], tokens: int) -> list[Pack]:
        cost = pair_cost(self.policy.model)
        shared = min(self.settings.shared_tokens, tokens)
        limit = shared if attends_fully(self.policy.model) else 0
        return make_forests(list(make_packs(rows, limit, cost)), limit, tokens, cost)


def open_objective(config: Config, policy: Policy, reference: Policy | None) -> Objective:
    """Return what `config` says of the trainer, for `policy`; `reference` is the policy that a KL
    is measured to, None where none is asked for. Both as they are trained: sharded, if at all."""
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
    )

"""From scored trees to a gradient: what the run's recipe makes of them.

    trees -> advantages -> rows (responses) -> packs (a shared prefix once) -> micro-batches
          -> log-probs, corrections, loss, regularisation -> gradient

Neighbours: the modules beside this one are the steps, `runtime` asks for a gradient per leased
batch. It knows neither HTTP nor where weights come from.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from ralo_core import BuildContext, RolloutTree
from ralo_core.config import Config, RegularisationSettings, TrainerSettings
from ralo_core.protocols import AdvantageEstimator, Correction, Loss
from ralo_worker.trainer.forests import make_forests
from ralo_worker.trainer.gradient import Gradient, batch_gradient
from ralo_worker.trainer.micro_batches import micro_batches
from ralo_worker.trainer.model import attends_fully, pair_cost
from ralo_worker.trainer.packs import Pack, make_packs
from ralo_worker.trainer.regularisation import Regulariser
from ralo_worker.trainer.rows import Row, make_rows, without_zeros
from ralo_worker.trainer.survey import survey


@attrs.frozen(kw_only=True)
class Objective:
    """The parts that a run chose, over `model`: the policy, whose weights may change between
    calls."""

    model: Any
    settings: TrainerSettings
    advantage: AdvantageEstimator
    loss: Loss
    corrections: Mapping[str, Correction]
    regulariser: Regulariser | None = None

    def gradient(self, trees: Sequence[RolloutTree], version: int) -> Gradient | None:
        """Return the gradient of `trees` at the model's weights, which are those of `version`.

        None if nothing has a gradient, because every advantage is zero.
        """
        rows: Sequence[Row] = make_rows(trees, self.advantage.estimate(trees))
        left_out = 0.0
        if self.regulariser is None:
            rows, left_out = without_zeros(rows, self.loss)
        if not rows:
            return None
        cut = partial(micro_batches, self._packs(rows), self.settings.microbatch_tokens, version)
        survey(self.model, cut(), self.corrections.values())
        return batch_gradient(
            self.model, self.loss, cut(), left_out, self.corrections, self.regulariser
        )

    def _packs(self, rows: Sequence[Row]) -> list[Pack]:
        most, cost = self.settings.microbatch_tokens, pair_cost(self.model)
        limit = self.settings.shared_tokens if attends_fully(self.model) else 0
        return make_forests(list(make_packs(rows, limit, cost)), limit, most, cost)


def open_objective(config: Config, model: Any, reference: Any | None) -> Objective:
    """Return what `config` says of the trainer, for `model`; `reference` is the model that a KL
    is measured to, None where none is asked for."""
    context, terms = BuildContext(role="trainer"), config.section(RegularisationSettings)
    loss = config.build("loss", context)
    regulariser = None
    if terms.kl or terms.entropy:
        regulariser = Regulariser(settings=terms, loss=loss, reference=reference)
    return Objective(
        model=model,
        settings=config.section(TrainerSettings),
        advantage=config.build("advantage", context),
        loss=loss,
        corrections=config.build_pipeline("correction", context),
        regulariser=regulariser,
    )

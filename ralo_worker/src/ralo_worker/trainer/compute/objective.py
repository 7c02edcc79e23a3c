"""What the run's recipe makes of micro-batches: log-probs, corrections, loss, regularisation, and
the sums of their gradients.

    gradient = d( sum over micro-batches of loss sums ) / d(theta) / (sum of normalisers)

so it does not depend on how the batch is cut into micro-batches, nor on how these are split over
ranks: sums are added up, and divided once. It knows neither HTTP nor where weights come from, nor
that there may be other ranks.
"""

from collections.abc import Iterable, Mapping, Sequence

import attrs
import torch
from torch import Tensor

from ralo_core.protocols import Correction, Loss, LossBatch, SurveyingCorrection
from ralo_worker.trainer.compute.batch_totals import BatchTotals
from ralo_worker.trainer.compute.gradient_sums import GradientSums
from ralo_worker.trainer.compute.policy import Policy, on_device
from ralo_worker.trainer.compute.regularisation import Regulariser
from ralo_worker.trainer.compute.token_means import TokenMeans
from ralo_worker.trainer.layout.micro_batches import MicroBatch

SurveyPart = tuple[Tensor, LossBatch]
"""The log-ratios of a micro-batch, float32[R, C], and its rows, all on the CPU."""


@attrs.frozen(kw_only=True)
class Objective:
    """The parts that a run chose, over `policy`, whose weights may change between calls.

    `gradients` reads what `accumulate` added up. `corrections`, by name and in order, weigh the
    advantages by how far the policy is from what sampled.
    """

    policy: Policy
    gradients: GradientSums
    loss: Loss
    corrections: Mapping[str, Correction] = attrs.field(factory=dict)
    regulariser: Regulariser | None = None

    @property
    def surveys(self) -> bool:
        """Whether a correction must see the whole batch before it weighs any part of it: then
        `survey` and `observe` come before `accumulate`, and a forward pass more."""
        return any(isinstance(each, SurveyingCorrection) for each in self.corrections.values())

    @torch.no_grad()
    def survey(self, batches: Iterable[MicroBatch]) -> list[SurveyPart]:
        """Return what `observe` is to be given of `batches`."""
        parts = []
        for batch in batches:
            logprobs, _ = self.policy(on_device(batch, self.policy.device))
            parts.append((batch.loss_batch.log_ratio(logprobs.cpu()), batch.loss_batch))
        return parts

    def observe(self, parts: Sequence[SurveyPart]) -> None:
        """Give the corrections that survey the whole batch: the parts of all its micro-batches."""
        for correction in self.corrections.values():
            if isinstance(correction, SurveyingCorrection):
                correction.survey(parts)

    def accumulate(self, batches: Iterable[MicroBatch]) -> BatchTotals:
        """Clear `gradients`, add up there the gradient of the summed loss over all `batches`, and
        return all else that is summed over them."""
        self.gradients.clear()
        totals = BatchTotals()
        for batch in batches:
            self._add(on_device(batch, self.policy.device), totals)
        return totals

    def run_idle(self, batch: MicroBatch) -> None:
        """Take part in a micro-batch of other ranks and add nothing: the parameters of a sharded
        policy, and of a sharded reference, are gathered by all ranks at once."""
        batch = on_device(batch, self.policy.device)
        logprobs, _ = self.policy(batch)
        if self.regulariser is not None and self.regulariser.reference is not None:
            with torch.no_grad():
                self.regulariser.reference(batch)
        (logprobs.sum() * 0.0).backward()

    def _add(self, batch: MicroBatch, totals: BatchTotals) -> None:
        """Add the gradient of a micro-batch to the policy's own, and all else to `totals`."""
        rewarded = self.regulariser is not None and self.regulariser.settings.entropy > 0
        logprobs, entropy = self.policy(batch, entropy_slope=rewarded)
        log_ratio = batch.loss_batch.log_ratio(logprobs.detach())
        totals.distance.add(log_ratio, batch.loss_batch)
        weighed = self._corrected(batch.loss_batch, log_ratio, totals.means)
        total, normaliser, metrics = self.loss.loss(logprobs, weighed)
        totals.means.add("entropy", entropy, batch.loss_batch.mask)
        if self.regulariser is not None:
            total = total + self.regulariser.term(logprobs, entropy, batch, totals.means)
        total.backward()
        totals.add(normaliser, metrics)

    def _corrected(self, batch: LossBatch, log_ratio: Tensor, means: TokenMeans) -> LossBatch:
        advantages = batch.advantages
        for name, correction in self.corrections.items():
            weights = correction.weigh(log_ratio, batch)
            means.add(f"masked_fraction/{name}", weights == 0, batch.mask)
            advantages = advantages * weights
        return attrs.evolve(batch, advantages=advantages)

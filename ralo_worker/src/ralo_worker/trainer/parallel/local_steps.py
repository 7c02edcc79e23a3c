"""Several optimizer steps of a trainer's own per upload, for links that are too slow for a gradient
per step (DiLoCo, Douillard et al. 2023, arXiv 2311.08105).

A leased batch is cut into H parts of trees. For each part in turn the gradient is taken at the
trainer's own weights, which AdamW then moves; what is sent is the pseudo-gradient,

    theta at the start - theta after H steps

and the weights go back to the start: the orchestrator takes the outer step. AdamW's moments go on
from batch to batch.

All ranks take the same inner steps, on gradients that are added up on every one of them. The
pseudo-gradient is uploaded as a gradient is. In the learner the optimizer `nesterov` and the
aggregator `diloco` are made for it.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from ralo_core import RolloutTree
from ralo_core.config import LocalStepsSettings
from ralo_worker.trainer.compute.batch_totals import BatchTotals
from ralo_worker.trainer.compute.gradient import Gradient
from ralo_worker.trainer.parallel.data_parallel import AccumulatedGradient, DataParallel


class LocalSteps:
    """Takes the inner steps of `settings` with the gradients that `parallel` computes."""

    def __init__(self, parallel: DataParallel, settings: LocalStepsSettings) -> None:
        self._parallel, self._settings = parallel, settings
        self._trained: Mapping[str, Tensor] = parallel.objective.gradients.trained
        self._optimizer = torch.optim.AdamW(
            [*self._trained.values()], lr=settings.lr, weight_decay=settings.weight_decay
        )

    def gradient(self, trees: Sequence[RolloutTree], version: int) -> Gradient | None:
        """Return the pseudo-gradient of `trees` from the policy's weights, which are those of
        `version` before and after, with the tensors that this rank owns.

        Its weight is the sum of the parts' normalisers. Returns None and raises `Halted` where
        `DataParallel.gradient` does.
        """
        start = {name: value.detach().clone() for name, value in self._trained.items()}
        taken = []
        try:
            for part in _parts(trees, self._settings.steps):
                accumulated = self._parallel.accumulate(part, version)
                if accumulated is not None:
                    self._step(accumulated)
                    taken.append(accumulated)
            return self._moved(start, taken) if taken else None
        finally:
            self._restore(start)

    def _step(self, accumulated: AccumulatedGradient) -> None:
        """Take the same inner step on every rank."""
        parallel = self._parallel
        with parallel.phases("reduce"):
            for name, value in parallel.objective.gradients.items():
                if not isinstance(self._trained[name], DTensor):  # FSDP has added those up
                    parallel.group.add_up_everywhere(value)
                self._trained[name].grad = value.div_(accumulated.weight)
        with parallel.phases("compute"):
            if self._settings.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(self._trained.values(), self._settings.max_grad_norm)
            self._optimizer.step()
            parallel.objective.gradients.clear()

    @torch.no_grad()
    def _moved(self, start: Mapping[str, Tensor], taken: Sequence[AccumulatedGradient]) -> Gradient:
        parallel, found = self._parallel, {}
        with parallel.phases("reduce"):
            for name, before in start.items():
                way = before - self._trained[name].detach()
                whole = way.full_tensor() if isinstance(way, DTensor) else way
                if parallel.owned_by[name] == parallel.group.rank:
                    found[name] = whole.to("cpu", torch.float32)
        return Gradient(
            tensors=found,
            weight=sum(each.weight for each in taken),
            metrics=BatchTotals().merged(each.totals for each in taken).mean_metrics(),
        )

    @torch.no_grad()
    def _restore(self, start: Mapping[str, Tensor]) -> None:
        for name, before in start.items():
            self._trained[name].copy_(before)


def _parts(trees: Sequence[RolloutTree], count: int) -> list[Sequence[RolloutTree]]:
    """Cut `trees` into at most `count` parts of about the same number, in their order."""
    bounds = [round(number * len(trees) / count) for number in range(count + 1)]
    cut = [trees[low:high] for low, high in pairwise(bounds)]
    return [part for part in cut if part]

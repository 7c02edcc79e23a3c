"""A mask over the whole batch: second-moment trust, M2PO, Zheng et al. 2025 (arXiv 2510.01161).

    candidates   A > 0 and r > 1, or A < 0 and r < 1
    M2           mean of (log r)^2 over the candidates that are kept
    m2po         0 for the fewest candidates, those of the largest (log r)^2, that bring M2 to tau

A candidate is a token whose gradient moves the policy further away from what sampled it; every
other gradient leads back and is kept. The mean is over candidates, as in the authors' code and in
AReaL's (`m2_threshold`): tokens that lie still must not pay for those that have run away. Tokens
that are equally far share one fate, so that their order does not matter.

The trainer first calls `survey` with the whole batch, then `weigh` with each part of it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ralo_core import BuildContext, LossBatch
from ralo_worker.corrections.settings import M2poSettings


class M2po:
    """Satisfies `ralo_core.protocols.SurveyingCorrection`."""

    def __init__(self, settings: M2poSettings, context: BuildContext) -> None:
        self._tau = settings.tau
        self._most: float

    def survey(self, parts: Sequence[tuple[Tensor, LossBatch]]) -> None:
        """Find the largest (log r)^2 that a candidate may have."""
        found = [log_ratio[_candidates(log_ratio, batch)] for log_ratio, batch in parts]
        self._most = _bound(torch.cat(found).double().square(), self._tau)

    def weigh(self, log_ratio: Tensor, batch: LossBatch) -> Tensor:
        """Return float32[R, C]."""
        far = log_ratio.double().square() > self._most
        return (~(far & _candidates(log_ratio, batch))).to(log_ratio.dtype)


def _candidates(log_ratio: Tensor, batch: LossBatch) -> Tensor:
    return log_ratio * batch.advantages > 0


def _bound(squares: Tensor, tau: float) -> float:
    """Return a number between the largest of `squares` to keep and the smallest to drop."""
    ordered = squares.sort().values
    means = ordered.cumsum(0) / torch.arange(1, len(ordered) + 1, device=ordered.device)
    beyond = ordered[means > tau]
    if not len(beyond):
        return float("inf")
    dropped = beyond[0]
    kept = ordered[ordered < dropped]
    # Between the two, for the policy may come out a last bit differently the second time.
    return float((dropped + kept[-1]) / 2 if len(kept) else dropped / 2)

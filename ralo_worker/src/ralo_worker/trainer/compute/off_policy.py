"""How far the policy is from what sampled a batch: collected over its micro-batches, and sent with
the metrics of its gradient."""

import attrs
import torch
from torch import Tensor

from ralo_core import LossBatch

_PERCENTILES = (0.01, 0.5, 0.99)
_HISTOGRAM = ((0, 0), (1, 1), (2, 4), (5, 1 << 62))


@attrs.define
class Distance:
    """Log-ratios of the trained tokens seen so far, and the staleness of their rows."""

    _log_ratios: list[Tensor] = attrs.field(factory=list)
    _responses: list[Tensor] = attrs.field(factory=list)
    _fresh: list[Tensor] = attrs.field(factory=list)
    _staleness: list[Tensor] = attrs.field(factory=list)

    def add(self, log_ratio: Tensor, batch: LossBatch) -> None:
        """Add a micro-batch and its log-ratios, float32[R, C]."""
        self._log_ratios.append(log_ratio[batch.mask].cpu())
        self._responses.append(log_ratio.sum(1)[batch.mask.any(1)].cpu())
        fresh = batch.mask & (batch.staleness == 0)[:, None]
        self._fresh.append(log_ratio[fresh].cpu())
        self._staleness.append(batch.staleness.cpu())

    def extend(self, other: "Distance") -> None:
        """Add all that `other` collected."""
        self._log_ratios += other._log_ratios
        self._responses += other._responses
        self._fresh += other._fresh
        self._staleness += other._staleness

    def metrics(self) -> dict[str, float]:
        """Return percentiles of the ratio, the effective sample size as a share of the tokens and
        of the responses, the shares of rows by staleness, and, where there are fresh rows, the
        KL(mu || pi) that sampler and trainer differ by at equal weights (k3)."""
        log_ratio = torch.cat(self._log_ratios).double()
        ratio = log_ratio.exp()
        found = {
            f"ratio_p{round(100 * share):02d}": float(torch.quantile(_thinned(ratio), share))
            for share in _PERCENTILES
        }
        found["ess"] = _ess(log_ratio)
        found["sequence_ess"] = _ess(torch.cat(self._responses).double())
        staleness = torch.cat(self._staleness)
        for low, high in _HISTOGRAM:
            inside = (staleness >= low) & (staleness <= high)
            name = str(low) if low == high else f"{low}_{high}" if high < 1 << 62 else f"{low}_up"
            found[f"staleness_share_{name}"] = float(inside.double().mean())
        fresh = torch.cat(self._fresh).double()
        if len(fresh):
            found["mismatch_kl"] = float((fresh.exp() - 1 - fresh).mean())
        return found


def _ess(log_weights: Tensor) -> float:
    """Return ``sum(w)^2 / (n sum(w^2))``, in logarithms: a response's weight is a long product."""
    share = 2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)
    return float(share.exp() / len(log_weights))


def _thinned(values: Tensor) -> Tensor:
    """Return at most a million of them, evenly: torch has no quantile of more than 16 million."""
    return values[:: len(values) // 1_000_000 + 1]

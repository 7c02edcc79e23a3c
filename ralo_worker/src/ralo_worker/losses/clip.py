"""The clipped policy objective, PPO (Schulman et al. 2017) with clip-higher (DAPO, Yu et al. 2025).

    r_t = exp(log pi(y_t) - log mu(y_t))            mu: the behaviour policy, token by token
    J   = sum_t w_t min(r_t A_t, clip(r_t, 1 - low, 1 + high) A_t) / N

    average     w_t of a response y        N              what counts alike
    token       1                          tokens         every token (DAPO)
    sequence    1 / |y|                    responses      every response (GRPO, Shao et al. 2024)
    constant    1 / constant_tokens        responses      the same, without a bias that depends
                                                          on |y| (Dr. GRPO, Liu et al. 2025)

Asynchronous rollouts need nothing else here: mu is what really sampled.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ralo_core import BuildContext, LossBatch
from ralo_worker.losses.settings import ClipSettings


class ClipLoss:
    """Satisfies `ralo_core.protocols.Loss`."""

    def __init__(self, settings: ClipSettings, context: BuildContext) -> None:
        self._settings = settings

    @property
    def _per_response(self) -> bool:
        return self._settings.average != "token"

    def normaliser(self, lengths: Sequence[int]) -> float:
        """Return N of responses of so many tokens."""
        return float(len(lengths) if self._per_response else sum(lengths))

    def loss(
        self, policy_logprobs: Tensor, batch: LossBatch
    ) -> tuple[Tensor, float, dict[str, float]]:
        """Return ``(-sum of the objective, N, sums of metrics)``.

        Metrics: `loss`, `ratio`, `clip_fraction` (tokens whose gradient the clip removed) and
        `kl`, the estimate ``r - 1 - log r`` of KL(mu || pi) (Schulman's k3).
        """
        low, high = self._settings.clip_low, self._settings.clip_high
        mask, advantages = batch.mask, batch.advantages
        log_ratio = batch.log_ratio(policy_logprobs)
        ratio = log_ratio.exp()
        plain, clipped = ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages
        objective, cut = torch.minimum(plain, clipped), clipped < plain
        if self._settings.dual_clip:
            bound = self._settings.dual_clip * advantages
            beyond = (advantages < 0) & (objective < bound)
            objective, cut = torch.where(beyond, bound, objective), cut | beyond
        tokens = mask.sum(1)
        total = -(objective * mask * self._weights(tokens)[:, None]).sum()
        with torch.no_grad():
            each = mask / tokens.clamp(min=1)[:, None] if self._per_response else mask
            metrics = {
                "loss": float(total),
                "ratio": float((ratio * each).sum()),
                "clip_fraction": float((cut * each).sum()),
                "kl": float(((ratio - 1 - log_ratio) * each).sum()),
            }
        return total, self.normaliser([count for count in tokens.tolist() if count]), metrics

    def _weights(self, tokens: Tensor) -> Tensor:
        """Return w of every response, float[R], from its trained tokens int[R]."""
        average = self._settings.average
        if average == "sequence":
            return 1.0 / tokens.clamp(min=1)
        divisor = self._settings.constant_tokens if average == "constant" else 1
        return torch.full_like(tokens, 1.0 / divisor, dtype=torch.float32)

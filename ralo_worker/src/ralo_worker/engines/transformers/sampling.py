"""Draw one token per row from logits and return its exact behaviour log-probability, and, where
they are asked for, the exact entropies.

The order of the filters is that of vLLM: temperature, then top-k, then top-p on what is left.
"""

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from ralo_core import GenerationRequest

_CUT = -1e30
"""Stands for the log-prob of what a filter cut."""
_EVERYTHING = 2.0
"""A top-p bound that no rounded cumulative probability reaches: the filter is off."""


@attrs.frozen(eq=False)
class SamplingRows:
    """Sampling parameters of R rows as tensors: `temperature` float32[R] (1 where greedy),
    `top_k` int64[R], `top_p` float64[R], `greedy` bool[R], and whether any row needs them, or asks
    for its entropy."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    greedy: Tensor
    any_filter: bool
    any_greedy: bool
    any_entropy: bool

    @classmethod
    def of(
        cls, requests: Sequence[GenerationRequest], vocabulary: int, device: str
    ) -> "SamplingRows":
        """Return the rows of `requests`; greedy rows switch every filter off."""
        greedy = [request.temperature == 0 for request in requests]
        top_k = [
            vocabulary if alone or not request.top_k else request.top_k
            for request, alone in zip(requests, greedy, strict=True)
        ]
        top_p = [
            _EVERYTHING if alone or request.top_p >= 1 else request.top_p
            for request, alone in zip(requests, greedy, strict=True)
        ]
        return cls(
            temperature=torch.tensor([r.temperature or 1.0 for r in requests], device=device),
            top_k=torch.tensor(top_k, device=device),
            top_p=torch.tensor(top_p, dtype=torch.float64, device=device),
            greedy=torch.tensor(greedy, device=device),
            any_filter=min(top_k) < vocabulary or min(top_p) < 1,
            any_greedy=any(greedy),
            any_entropy=any(request.entropies for request in requests),
        )


def sample(
    logits: Tensor, rows: SamplingRows, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return tokens int64[R] drawn from `logits` [R, vocabulary], their float32[R] log-probs, and
    float32[R] entropies (nats), None if no row asks for its entropy.

    Both are of the distribution drawn from: tempered, filtered, renormalised.
    """
    scaled = logits.float() / rows.temperature[:, None]
    if rows.any_filter:
        scaled = scaled.masked_fill(_dropped(scaled, rows), -torch.inf)
    logprobs = scaled.log_softmax(-1)
    tokens = _draw(logprobs, generator)
    if rows.any_greedy:
        tokens = torch.where(rows.greedy, scaled.argmax(-1), tokens)
    entropies = _entropies(logprobs) if rows.any_entropy else None
    return tokens, logprobs.gather(1, tokens[:, None])[:, 0].clamp(max=0.0), entropies


def _draw(logprobs: Tensor, generator: torch.Generator | None) -> Tensor:
    """Invert the cumulative distribution at one uniform number per row.

    In float64: a float32 draw cannot resolve the tail of a large vocabulary.
    """
    cumulative = logprobs.double().exp().cumsum(-1)
    total = cumulative[:, -1:]
    uniform = torch.rand(total.shape, dtype=total.dtype, device=total.device, generator=generator)
    target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target, right=True)[:, 0]


def _entropies(logprobs: Tensor) -> Tensor:
    """Return ``-sum p ln p``, float32[R]; four times as fast as `torch.special.entr`."""
    finite = logprobs.clamp(min=_CUT)  # 0 times minus infinity is no number
    return -torch.linalg.vecdot(logprobs.exp(), finite).clamp(max=0.0)


def _dropped(scaled: Tensor, rows: SamplingRows) -> Tensor:
    """Return bool[R, vocabulary]: True where top-k or top-p (Holtzman et al. 2020) cut."""
    ordered, order = scaled.sort(-1, descending=True)
    rank = torch.arange(scaled.shape[1], device=scaled.device)
    drop = rank >= rows.top_k[:, None]
    kept = ordered.double().masked_fill(drop, -torch.inf).softmax(-1)
    drop |= kept.cumsum(-1) - kept >= rows.top_p[:, None]
    return torch.empty_like(drop).scatter_(1, order, drop)

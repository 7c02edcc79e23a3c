"""The contract of corrections: finite weights of at least 0, row by row, no gradient needed."""

from typing import Any

import attrs

from ralo_core.protocols import Correction, LossBatch


def check_correction(correction: Correction) -> None:
    """Check `correction` on a random micro-batch and on its rows. Needs torch."""
    import torch

    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(6, 9, generator=generator) < 0.7
    batch = LossBatch(
        behaviour_logprobs=-3 * torch.rand(6, 9, generator=generator),
        advantages=torch.rand(6, 9, generator=generator) - 0.5,
        mask=mask,
        staleness=torch.arange(6),
    )
    log_ratio = (0.5 * torch.randn(6, 9, generator=generator)).masked_fill(~mask, 0.0)
    weights = correction.weigh(log_ratio, batch)
    assert weights.shape == log_ratio.shape, "there must be a weight per row and token"
    assert torch.isfinite(weights).all(), "weights must be finite"
    assert (weights >= 0).all(), "a weight must not be below 0: it would turn the advantage round"
    extreme = torch.full_like(log_ratio, 20.0).masked_fill(~mask, 0.0)
    assert torch.isfinite(correction.weigh(extreme, batch)).all(), "a large ratio must not overflow"
    for row in range(6):
        alone = correction.weigh(log_ratio[row : row + 1], _row(batch, row))
        assert torch.allclose(alone[0], weights[row]), (
            "the weights of a row must not depend on the other rows, else the gradient depends on "
            "how the batch is cut"
        )


def _row(batch: LossBatch, row: int) -> LossBatch:
    values: dict[str, Any] = attrs.asdict(batch, recurse=False)
    return LossBatch(**{name: value[row : row + 1] for name, value in values.items()})

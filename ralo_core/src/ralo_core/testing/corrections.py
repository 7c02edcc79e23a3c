"""The contract of corrections: finite weights of at least 0, row by row, no gradient needed."""

from typing import Any

from ralo_core.protocols import Correction, LossBatch, SurveyingCorrection


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
    if isinstance(correction, SurveyingCorrection):
        _check_survey(correction, log_ratio, batch)
    weights = correction.weigh(log_ratio, batch)
    assert weights.shape == log_ratio.shape, "there must be a weight per row and token"
    assert torch.isfinite(weights).all(), "weights must be finite"
    assert (weights >= 0).all(), "a weight must not be below 0: it would turn the advantage round"
    extreme = torch.full_like(log_ratio, 20.0).masked_fill(~mask, 0.0)
    assert torch.isfinite(correction.weigh(extreme, batch)).all(), "a large ratio must not overflow"
    for row in range(6):
        alone = slice(row, row + 1)
        assert torch.allclose(
            correction.weigh(log_ratio[alone], batch.rows(alone)), weights[alone]
        ), (
            "the weights of a row must not depend on the other rows, else the gradient depends on "
            "how the batch is cut"
        )


def _check_survey(correction: SurveyingCorrection, log_ratio: Any, batch: LossBatch) -> None:
    """Check that a survey does not depend on the cut; leave that of the whole behind."""
    import torch

    backwards = [slice(row, row + 1) for row in reversed(range(6))]
    found = []
    for cuts in (backwards, [slice(0, 1), slice(1, 6)], [slice(0, 6)]):
        correction.survey([(log_ratio[cut], batch.rows(cut)) for cut in cuts])
        found.append(correction.weigh(log_ratio, batch))
    for weights in found[:-1]:
        assert torch.allclose(weights, found[-1]), (
            "what survey() records must not depend on how the batch is cut"
        )

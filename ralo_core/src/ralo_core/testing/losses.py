"""The contract of losses: sum, normaliser, sums of metrics; gradient only where trained."""

import math
from typing import Any

from ralo_core.protocols import Loss, LossBatch


def check_loss(loss: Loss) -> None:
    """Check `loss` on a random micro-batch and on its halves. Needs torch."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Any:
        return torch.rand(shape, generator=generator)

    mask = draw(6, 9) < 0.7
    batch = LossBatch(
        behaviour_logprobs=-3 * draw(6, 9),
        advantages=draw(6, 9) - 0.5,
        mask=mask,
        staleness=torch.arange(6),
    )
    policy = (batch.behaviour_logprobs + 0.3 * (draw(6, 9) - 0.5)).requires_grad_()
    total, normaliser, metrics = loss.loss(policy, batch)
    assert total.shape == (), "the loss must be a torch scalar: the sum over the micro-batch"
    assert torch.isfinite(total), "the loss must be finite"
    assert math.isfinite(normaliser), "the normaliser must be a finite number"
    assert normaliser > 0, "the normaliser of a batch with trained tokens must be above 0"
    for name, value in metrics.items():
        assert isinstance(value, float), f"metric '{name}' must be a float, got {type(value)}"
        assert math.isfinite(value), f"metric '{name}' must be finite"
    (gradient,) = torch.autograd.grad(total, policy)
    assert torch.isfinite(gradient).all(), "the gradient must be finite"
    assert not gradient[~mask].any(), "tokens outside the mask must get no gradient"
    _check_additive(loss, policy.detach(), batch, (float(total), normaliser))
    _check_far_off(loss, batch)


def _check_far_off(loss: Loss, batch: LossBatch) -> None:
    """A policy that has moved so far that its ratio overflows must not end the run."""
    import torch

    for distance in (300.0, -300.0):
        policy = (batch.behaviour_logprobs + distance).requires_grad_()
        total, _, _ = loss.loss(policy, batch)
        (gradient,) = torch.autograd.grad(total, policy)
        assert torch.isfinite(total), f"a log-ratio of {distance} must not make the loss infinite"
        assert torch.isfinite(gradient).all(), f"nor its gradient, at a log-ratio of {distance}"


def _check_additive(loss: Loss, policy: Any, batch: LossBatch, whole: tuple[float, float]) -> None:
    parts = [(0.0, 0.0)]
    for rows in (slice(0, 2), slice(2, 6)):
        total, normaliser, _ = loss.loss(policy[rows], batch.rows(rows))
        parts.append((float(total), normaliser))
    for index, what in enumerate(("loss", "normaliser")):
        added = sum(part[index] for part in parts)
        assert math.isclose(added, whole[index], rel_tol=1e-4, abs_tol=1e-5), (
            f"the {what} of a micro-batch must be the sum of those of its rows, else the gradient "
            "depends on how the batch is cut"
        )

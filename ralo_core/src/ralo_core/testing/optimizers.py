"""The contract of optimizer factories: a schedule, and an optimizer that steps slice by slice."""

import math
from typing import Any

from ralo_core.protocols import OptimizerFactory, ScalingOptimizerFactory

_WIDTH, _CUT = 6, 4


def check_optimizer(factory: OptimizerFactory) -> None:
    """Check `factory` by taking steps of its optimizer. Needs torch."""
    import torch

    for step in (1, 2, 10, 1000, 10**6):
        rate = factory.learning_rate(step)
        assert math.isfinite(rate), f"the learning rate of step {step} must be finite"
        assert rate >= 0, f"the learning rate of step {step} must not be negative"
    if isinstance(factory, ScalingOptimizerFactory):
        _check_rate_factor(factory)
    bound = factory.max_grad_norm
    assert bound is None or bound > 0, "max_grad_norm must be a positive number or None"
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = factory.build([("w", weight)])
    assert isinstance(optimizer, torch.optim.Optimizer), "build() must return a torch optimizer"
    assert not optimizer.state, "state must be made in the first step, not when it is built"
    _step(optimizer, weight, torch.ones(4))
    assert (weight < 1).all(), "a step must move the weights against the gradient"
    _check_elementwise(factory)


def _check_rate_factor(factory: ScalingOptimizerFactory) -> None:
    for metrics in ({}, {"ess": 0.5, "sequence_ess": 0.25, "loss": -1.0}):
        factor = factory.rate_factor(metrics)
        assert math.isfinite(factor), f"the rate factor must be finite, with metrics {metrics}"
        assert factor >= 0, f"the rate factor must not be negative, with metrics {metrics}"


def _check_elementwise(factory: OptimizerFactory) -> None:
    """Check that steps on two slices are those on the whole, state included."""
    import torch

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(_WIDTH, generator=generator)
    gradients = [torch.randn(_WIDTH, generator=generator) for _ in range(3)]
    whole = torch.nn.Parameter(start.clone())
    cuts = (slice(0, _CUT), slice(_CUT, _WIDTH))
    parts = [torch.nn.Parameter(start[cut].clone()) for cut in cuts]
    unsliced, sliced = (
        factory.build([("w", whole)]),
        [factory.build([("w", part)]) for part in parts],
    )
    for gradient in gradients:
        _step(unsliced, whole, gradient)
        for optimizer, part, cut in zip(sliced, parts, cuts, strict=True):
            _step(optimizer, part, gradient[cut])
    joined = torch.cat([part.detach() for part in parts])
    assert torch.allclose(whole, joined, rtol=1e-5, atol=1e-7), (
        "the optimizer must be elementwise: a step on slices must be the step on the whole"
    )
    for key, value in unsliced.state[whole].items():
        size = torch.as_tensor(value).numel()
        assert size in (1, _WIDTH), f"state '{key}' must have the parameter's size, or be a scalar"


def _step(optimizer: Any, parameter: Any, gradient: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    parameter.grad = gradient.clone()
    optimizer.step()

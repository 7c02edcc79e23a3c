"""The contracts of the learner's policies: weights and combination, optimizer and schedule."""

import math
from typing import Any

import numpy as np

from ralo_core.protocols import (
    Aggregator,
    GradientInfo,
    OptimizerFactory,
    ScalingOptimizerFactory,
)

_WIDTH, _CUT = 6, 4


def check_aggregation_policy(policy: Aggregator) -> None:
    """Check `policy` on one and on several gradients of different weight and age."""
    facts = [
        GradientInfo(upload_id=f"g{n}", base_version=10 - n, weight=100.0 * (n + 1))
        for n in range(4)
    ]
    for some in (facts[:1], facts):
        weights = list(policy.weigh(some, 10))
        assert len(weights) == len(some), "weigh() must give one weight per gradient"
        for weight in weights:
            assert math.isfinite(weight), "a weight must be finite"
            assert weight >= 0, "a weight must not turn a gradient round"
        _check_combination(policy, np.asarray([weight for weight in weights if weight > 0]))


def _check_combination(policy: Aggregator, weights: Any) -> None:
    if not weights.size:
        return
    values = np.random.default_rng(0).normal(size=(weights.size, 50)).astype(np.float32)
    values.flags.writeable = False  # a mapped gradient file is not writeable either
    whole = policy.combine(values, weights)
    assert whole.dtype == np.float32, f"combine() must return float32, got {whole.dtype}"
    assert whole.shape == (50,), "combine() must return one value per column"
    assert np.isfinite(whole).all(), "combine() of finite gradients must be finite"
    parts = [policy.combine(values[:, :20], weights), policy.combine(values[:, 20:], weights)]
    assert np.array_equal(whole, np.concatenate(parts)), (
        "combine() must treat every column by itself: the learner hands it slices"
    )
    same = np.repeat(values[:1], weights.size, axis=0)
    assert np.allclose(policy.combine(same, weights), values[0], rtol=1e-5, atol=1e-6), (
        "combine() of equal gradients must be that gradient"
    )


def check_optimizer_policy(policy: OptimizerFactory) -> None:
    """Check `policy` by taking steps of its optimizer. Needs torch."""
    import torch

    for step in (1, 2, 10, 1000, 10**6):
        rate = policy.learning_rate(step)
        assert math.isfinite(rate), f"the learning rate of step {step} must be finite"
        assert rate >= 0, f"the learning rate of step {step} must not be negative"
    if isinstance(policy, ScalingOptimizerFactory):
        _check_rate_factor(policy)
    bound = policy.max_grad_norm
    assert bound is None or bound > 0, "max_grad_norm must be a positive number or None"
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = policy.build([("w", weight)])
    assert isinstance(optimizer, torch.optim.Optimizer), "build() must return a torch optimizer"
    assert not optimizer.state, "state must be made in the first step, not when it is built"
    _step(optimizer, weight, torch.ones(4))
    assert (weight < 1).all(), "a step must move the weights against the gradient"
    _check_elementwise(policy)


def _check_rate_factor(policy: ScalingOptimizerFactory) -> None:
    for metrics in ({}, {"ess": 0.5, "sequence_ess": 0.25, "loss": -1.0}):
        factor = policy.rate_factor(metrics)
        assert math.isfinite(factor), f"the rate factor must be finite, with metrics {metrics}"
        assert factor >= 0, f"the rate factor must not be negative, with metrics {metrics}"


def _check_elementwise(policy: OptimizerFactory) -> None:
    """Check that steps on two slices are those on the whole, state included."""
    import torch

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(_WIDTH, generator=generator)
    gradients = [torch.randn(_WIDTH, generator=generator) for _ in range(3)]
    whole = torch.nn.Parameter(start.clone())
    cuts = (slice(0, _CUT), slice(_CUT, _WIDTH))
    parts = [torch.nn.Parameter(start[cut].clone()) for cut in cuts]
    unsliced, sliced = policy.build([("w", whole)]), [policy.build([("w", part)]) for part in parts]
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

"""The contracts of the learner's policies: coefficients, optimizer, schedule."""

import math

from ralo_core.protocols import AggregationPolicy, GradientFacts, OptimizerPolicy


def check_aggregation_policy(policy: AggregationPolicy) -> None:
    """Check `policy` on one and on several gradients of different weight and age."""
    facts = [
        GradientFacts(upload_id=f"g{n}", base_version=10 - n, weight=100.0 * (n + 1))
        for n in range(4)
    ]
    for some in (facts[:1], facts):
        factors = list(policy.coefficients(some, 10))
        assert len(factors) == len(some), "coefficients() must give one factor per gradient"
        for factor in factors:
            assert math.isfinite(factor), "a coefficient must be finite"
            assert factor >= 0, "a coefficient must not turn a gradient round"


def check_optimizer_policy(policy: OptimizerPolicy) -> None:
    """Check `policy` by taking a step of its optimizer. Needs torch."""
    import torch

    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = policy.build([("w", weight)])
    assert isinstance(optimizer, torch.optim.Optimizer), "build() must return a torch optimizer"
    for step in (1, 2, 10, 1000, 10**6):
        rate = policy.learning_rate(step)
        assert math.isfinite(rate), f"the learning rate of step {step} must be finite"
        assert rate >= 0, f"the learning rate of step {step} must not be negative"
    bound = policy.max_grad_norm
    assert bound is None or bound > 0, "max_grad_norm must be a positive number or None"
    weight.grad = torch.ones(4)
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    assert (weight < 1).all(), "a step must move the weights against the gradient"

"""The contract of aggregators: a weight per gradient, and a combination column by column."""

import math
from typing import Any

import numpy as np

from ralo_core.protocols import Aggregator, GradientInfo


def check_aggregator(aggregator: Aggregator) -> None:
    """Check `aggregator` on one and on several gradients of different weight and age."""
    gradients = [
        GradientInfo(upload_id=f"g{n}", base_version=10 - n, weight=100.0 * (n + 1))
        for n in range(4)
    ]
    for some in (gradients[:1], gradients):
        weights = list(aggregator.weigh(some, 10))
        assert len(weights) == len(some), "weigh() must give one weight per gradient"
        for weight in weights:
            assert math.isfinite(weight), "a weight must be finite"
            assert weight >= 0, "a weight must not turn a gradient round"
        _check_combination(aggregator, np.asarray([weight for weight in weights if weight > 0]))


def _check_combination(aggregator: Aggregator, weights: Any) -> None:
    if not weights.size:
        return
    values = np.random.default_rng(0).normal(size=(weights.size, 50)).astype(np.float32)
    values.flags.writeable = False  # a mapped gradient file is not writeable either
    whole = aggregator.combine(values, weights)
    assert whole.dtype == np.float32, f"combine() must return float32, got {whole.dtype}"
    assert whole.shape == (50,), "combine() must return one value per column"
    assert np.isfinite(whole).all(), "combine() of finite gradients must be finite"
    parts = [
        aggregator.combine(values[:, :20], weights),
        aggregator.combine(values[:, 20:], weights),
    ]
    assert np.array_equal(whole, np.concatenate(parts)), (
        "combine() must treat every column by itself: the learner hands it slices"
    )
    same = np.repeat(values[:1], weights.size, axis=0)
    assert np.allclose(aggregator.combine(same, weights), values[0], rtol=1e-5, atol=1e-6), (
        "combine() of equal gradients must be that gradient"
    )

"""Optimizers: schedules by their formulas, lion against a numpy reference."""

import math

import numpy as np
import pytest
import torch

from ralo_core.errors import ConfigError
from ralo_core.structuring import structure
from ralo_server.optimizers.adamw import AdamW
from ralo_server.optimizers.lion import Lion
from ralo_server.optimizers.nesterov import Nesterov
from ralo_server.optimizers.schedule import learning_rate
from ralo_server.optimizers.settings import (
    AdamWSettings,
    LionSettings,
    NesterovSettings,
    ScheduleSettings,
    SgdSettings,
)
from ralo_server.optimizers.sgd import Sgd

torch.set_num_threads(1)


def rates(steps, **settings):
    return [learning_rate(ScheduleSettings(lr=2.0, **settings), step) for step in steps]


def test_warm_up_rises_to_the_learning_rate_and_stays_there():
    assert rates([1, 2, 3, 4, 5, 100], warmup_steps=4) == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert rates([1, 2], warmup_steps=0) == [2.0, 2.0]


def test_linear_falls_to_its_end_and_stays_there():
    options = {"schedule": "linear", "warmup_steps": 2, "total_steps": 12, "min_lr_ratio": 0.1}
    expected = [1.0, 2.0, 2 - 1.8 * 0.5, 0.2, 0.2]
    assert rates([1, 2, 7, 12, 500], **options) == pytest.approx(expected)


def test_cosine_falls_to_its_end_and_stays_there():
    options = {"schedule": "cosine", "warmup_steps": 0, "total_steps": 10, "min_lr_ratio": 0.5}
    expected = [1 + 0.5 * (1 + math.cos(math.pi * step / 10)) for step in (1, 5, 9)] + [1.0, 1.0]
    assert rates([1, 5, 9, 10, 11], **options) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (AdamWSettings, {"schedule": "cosine"}, "needs total_steps above warmup_steps"),
        (LionSettings, {"schedule": "linear", "warmup_steps": 9, "total_steps": 9}, "got 9"),
        (AdamWSettings, {"schedule": "cubic"}, "must be one of"),
        (NesterovSettings, {"momentum": 0.0}, "momentum"),
        (SgdSettings, {"nesterov": True}, "needs a momentum"),
    ],
)
def test_options_that_cannot_work_are_refused_with_the_reason(kind, options, message):
    with pytest.raises(ConfigError, match=message):
        structure(options, kind, "optimizer")


@pytest.mark.parametrize(("rule", "factor"), [("off", 1.0), ("sqrt", 0.3), ("linear", 0.09)])
def test_the_effective_sample_size_scales_the_rate(rule, factor):
    factory = AdamW(AdamWSettings(ess_scaling=rule), None)
    assert factory.rate_factor({"sequence_ess": 0.09, "ess": 0.5}) == pytest.approx(factor)
    assert factory.rate_factor({"sequence_ess": 7.0}) == 1.0, "a trainer cannot ask for more"
    assert factory.rate_factor({"sequence_ess": -7.0}) == (1.0 if rule == "off" else 0.0)


def test_a_step_whose_gradients_do_not_say_their_sample_size_is_not_scaled(caplog):
    assert AdamW(AdamWSettings(ess_scaling="sqrt"), None).rate_factor({"loss": 1.0}) == 1.0
    assert "do not say their sequence_ess" in caplog.text


def test_clipping_can_be_switched_off():
    assert Lion(LionSettings(), None).max_grad_norm == 1.0
    assert Sgd(SgdSettings(max_grad_norm=0.0), None).max_grad_norm is None


def test_lion_is_algorithm_2_of_its_paper():
    settings = LionSettings(lr=0.01, beta1=0.9, beta2=0.99, weight_decay=0.1)
    rng = np.random.default_rng(0)
    weights, momentum = rng.normal(size=40), np.zeros(40)
    parameter = torch.nn.Parameter(torch.from_numpy(weights.astype(np.float32)))
    optimizer = Lion(settings, None).build([("w", parameter)])
    for _ in range(20):
        gradient = rng.normal(size=40)
        direction = np.sign(0.9 * momentum + 0.1 * gradient)
        weights = weights - 0.01 * (direction + 0.1 * weights)
        momentum = 0.99 * momentum + 0.01 * gradient
        parameter.grad = torch.from_numpy(gradient.astype(np.float32))
        optimizer.step()
    np.testing.assert_allclose(parameter.detach().numpy(), weights, rtol=1e-4, atol=1e-5)


def test_nesterov_is_the_outer_step_of_diloco():
    """Sutskever's form, as torch writes it: b = mu b + g, theta -= lr (g + mu b)."""
    factory = Nesterov(NesterovSettings(lr=0.5, momentum=0.8), None)
    assert factory.max_grad_norm is None
    rng = np.random.default_rng(0)
    theta = rng.normal(size=7).astype(np.float32)
    parameter, velocity = torch.nn.Parameter(torch.from_numpy(theta.copy())), np.zeros(7)
    optimizer = factory.build([("w", parameter)])
    for _ in range(3):
        way = rng.normal(size=7).astype(np.float32)
        parameter.grad = torch.from_numpy(way.copy())
        optimizer.step()
        velocity = 0.8 * velocity + way
        theta = theta - 0.5 * (way + 0.8 * velocity)
    np.testing.assert_allclose(parameter.detach().numpy(), theta, rtol=1e-5)
    assert Nesterov(NesterovSettings(), None).learning_rate(1) == 0.7


def test_options_reach_the_optimizer():
    weight = [("w", torch.nn.Parameter(torch.ones(3)))]
    (group,) = AdamW(AdamWSettings(beta1=0.8, eps=1e-5), None).build(weight).param_groups
    assert (group["betas"], group["eps"], group["fused"]) == ((0.8, 0.999), 1e-5, True)
    settings = SgdSettings(momentum=0.9, nesterov=True, weight_decay=0.2)
    (group,) = Sgd(settings, None).build(weight).param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 0.2)

"""Corrections and off-policy losses against their formulas, token by token."""

import math

import numpy as np
import pytest
import torch

from ralo_core import BuildContext, LossBatch
from ralo_worker.corrections import settings as options
from ralo_worker.corrections.sequences import GeometricMask, Opsm, SequenceTis, Staleness, Topr
from ralo_worker.corrections.tokens import IcePop, KPop, Tis
from ralo_worker.losses.decoupled import DecoupledLoss
from ralo_worker.losses.dppo import DppoLoss
from ralo_worker.losses.policy_gradient import PolicyGradientLoss
from ralo_worker.losses.settings import DecoupledSettings, DppoSettings
from ralo_worker.trainer.compute.off_policy import Distance

CONTEXT = BuildContext(role="trainer")
LENGTHS, STALENESS = [4, 1, 3, 4], [0, 1, 3, 9]


def case(seed=0, spread=0.6):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(4) < torch.tensor(LENGTHS)[:, None]
    behaviour = -0.05 - 3 * torch.rand(4, 4, generator=generator)
    policy = (behaviour + spread * torch.randn(4, 4, generator=generator)).clamp(max=-0.01)
    batch = LossBatch(
        behaviour_logprobs=behaviour.masked_fill(~mask, 0.0),
        advantages=torch.randn(4, 4, generator=generator),
        mask=mask,
        staleness=torch.tensor(STALENESS),
    )
    return policy.masked_fill(~mask, 0.0), batch


def tokens(policy, batch):
    """Yield row, column, log-ratio and advantage of every trained token."""
    for row, length in enumerate(LENGTHS):
        for column in range(length):
            log_ratio = float(policy[row, column] - batch.behaviour_logprobs[row, column])
            yield row, column, log_ratio, float(batch.advantages[row, column])


def binary_kl(p, q):
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def expected_weight(name, row, log_ratio, rows, advantage, behaviour):
    mean = sum(rows[row]) / len(rows[row])
    mu, pi = math.exp(behaviour), math.exp(behaviour + log_ratio)
    return {
        "tis": min(math.exp(log_ratio), 1.3),
        "icepop": math.exp(log_ratio) if 0.7 <= math.exp(log_ratio) <= 1.6 else 0.0,
        "kpop": float(max(binary_kl(pi, mu), binary_kl(mu, pi)) <= 0.05),
        "sequence_tis": min(math.exp(sum(rows[row])), 1.2),
        "topr": 1.0 if advantage > 0 else min(math.exp(sum(rows[row])), 0.9),
        "geometric_mask": float(0.8 < math.exp(mean) < 1.25),
        "opsm": 0.0 if advantage < 0 and -mean > 0.05 else 1.0,
        "staleness": 0.0 if STALENESS[row] > 3 else (1 + STALENESS[row]) ** -0.5,
    }[name]


CORRECTIONS = {
    "tis": Tis(options.TisSettings(cap=1.3), CONTEXT),
    "icepop": IcePop(options.IcePopSettings(low=0.7, high=1.6), CONTEXT),
    "kpop": KPop(options.KPopSettings(upper=0.05), CONTEXT),
    "topr": Topr(options.ToprSettings(cap=0.9), CONTEXT),
    "sequence_tis": SequenceTis(options.SequenceTisSettings(cap=1.2), CONTEXT),
    "geometric_mask": GeometricMask(options.GeometricMaskSettings(low=0.8, high=1.25), CONTEXT),
    "opsm": Opsm(options.OpsmSettings(delta=0.05), CONTEXT),
    "staleness": Staleness(options.StalenessSettings(most=3, power=0.5), CONTEXT),
}


@pytest.mark.parametrize("name", CORRECTIONS)
def test_weights_are_the_formulas(name):
    seen = set()
    for seed in range(8):
        policy, batch = case(seed)
        weights = CORRECTIONS[name].weigh(policy - batch.behaviour_logprobs, batch)
        rows = [
            [r for row, _, r, _ in tokens(policy, batch) if row == wanted] for wanted in range(4)
        ]
        for row, column, log_ratio, advantage in tokens(policy, batch):
            behaviour = float(batch.behaviour_logprobs[row, column])
            expected = expected_weight(name, row, log_ratio, rows, advantage, behaviour)
            assert float(weights[row, column]) == pytest.approx(expected, rel=1e-5)
            seen.add(round(expected, 3))
    assert len(seen) > 1, "the case tells nothing"


def test_the_kl_of_kpop_bears_tokens_that_are_certain():
    batch = LossBatch(
        behaviour_logprobs=torch.tensor([[0.0, 0.0, -40.0, -1e-9]]), advantages=torch.ones(1, 4),
        mask=torch.ones(1, 4, dtype=torch.bool), staleness=torch.zeros(1),
    )  # fmt: skip
    log_ratio = torch.tensor([[0.0, -3.0, 20.0, 1e-9]])
    weights = KPop(options.KPopSettings(), CONTEXT).weigh(log_ratio, batch)
    assert weights.tolist() == [[1.0, 0.0, 1.0, 1.0]], "a certain token that became rare is masked"


def test_opsm_masks_what_that_of_trl_masks():
    trainer = pytest.importorskip("trl.trainer.grpo_trainer", reason="TRL is not installed")
    policy, batch = case(3)
    advantages = batch.advantages[:, :1]
    theirs = trainer.GRPOTrainer.get_off_policy_mask(
        advantages=advantages, per_token_logps=policy,
        sampling_per_token_logps=batch.behaviour_logprobs, mask=batch.mask,
        off_policy_threshold=0.05,
    )  # fmt: skip
    flat = LossBatch(
        behaviour_logprobs=batch.behaviour_logprobs, advantages=advantages.expand(4, 4),
        mask=batch.mask, staleness=batch.staleness,
    )  # fmt: skip
    ours = CORRECTIONS["opsm"].weigh(policy - batch.behaviour_logprobs, flat)
    assert set(ours[:, 0].tolist()) == {0.0, 1.0}
    assert torch.equal(ours[:, :1], theirs.float())


def slopes(loss, policy, batch):
    policy = policy.clone().requires_grad_()
    total, normaliser, metrics = loss.loss(policy, batch)
    assert normaliser == sum(LENGTHS)
    (gradient,) = torch.autograd.grad(total, policy)
    return float(total.detach()), gradient, metrics


def test_the_policy_gradient_is_the_advantage():
    policy, batch = case()
    total, gradient, _ = slopes(PolicyGradientLoss(None, CONTEXT), policy, batch)
    assert total == pytest.approx(-sum(a for _, _, _, a in tokens(policy, batch)), rel=1e-5)
    assert torch.allclose(gradient, -batch.advantages * batch.mask)


def test_truncated_importance_sampling_is_a_weight_on_the_policy_gradient():
    policy, batch = case(1)
    weights = CORRECTIONS["tis"].weigh(policy - batch.behaviour_logprobs, batch)
    corrected = LossBatch(
        behaviour_logprobs=batch.behaviour_logprobs, advantages=batch.advantages * weights,
        mask=batch.mask, staleness=batch.staleness,
    )  # fmt: skip
    _, gradient, _ = slopes(PolicyGradientLoss(None, CONTEXT), policy, corrected)
    for row, column, log_ratio, advantage in tokens(policy, batch):
        expected = -min(math.exp(log_ratio), 1.3) * advantage
        assert float(gradient[row, column]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_decoupled_ppo_is_the_formula(seed):
    policy, batch = case(seed)
    settings = DecoupledSettings(clip_low=0.2, clip_high=0.3, behaviour_cap=1.1)
    total, gradient, metrics = slopes(DecoupledLoss(settings, CONTEXT), policy, batch)
    value, clipped = 0.0, 0
    for row, column, log_ratio, advantage in tokens(policy, batch):
        alpha = (STALENESS[row] - 1) / STALENESS[row] if STALENESS[row] else 0.0
        proximal = alpha * log_ratio
        u = math.exp(log_ratio - proximal)
        weight = min(math.exp(proximal), 1.1)
        plain, cut = u * advantage, min(max(u, 0.8), 1.3) * advantage
        value -= weight * min(plain, cut)
        clipped += cut < plain
        slope = 0.0 if cut < plain else -weight * u * advantage
        assert float(gradient[row, column]) == pytest.approx(slope, rel=1e-4, abs=1e-7)
    assert total == pytest.approx(value, rel=1e-5)
    assert metrics["clip_fraction"] == clipped


@pytest.mark.parametrize("seed", range(4))
def test_dppo_is_the_formula(seed):
    policy, batch = case(seed)
    settings = DppoSettings(low=0.1, high=0.15, tau=0.01)
    _, gradient, metrics = slopes(DppoLoss(settings, CONTEXT), policy, batch)
    outside = 0
    for row, column, log_ratio, advantage in tokens(policy, batch):
        before = float(batch.behaviour_logprobs[row, column])
        moved = math.exp(before + log_ratio) - math.exp(before)
        left = (advantage > 0 and moved > 0.15) or (advantage < 0 and moved < -0.1)
        outside += left
        slope = 0.02 * log_ratio - (0.0 if left else math.exp(log_ratio) * advantage)
        assert float(gradient[row, column]) == pytest.approx(slope, rel=1e-4, abs=1e-6)
    assert metrics["clip_fraction"] == outside
    assert outside or seed


def test_the_distance_of_a_batch_does_not_depend_on_how_it_is_cut():
    policy, batch = case(5)
    log_ratio = (policy - batch.behaviour_logprobs).masked_fill(~batch.mask, 0.0)
    whole, parts = Distance(), Distance()
    whole.add(log_ratio, batch)
    for row in range(4):
        alone = slice(row, row + 1)
        parts.add(log_ratio[alone], batch.rows(alone))
    assert whole.metrics() == pytest.approx(parts.metrics())
    ratios = np.exp([r for _, _, r, _ in tokens(policy, batch)])
    fresh = np.asarray([r for row, _, r, _ in tokens(policy, batch) if row == 0])
    found = whole.metrics()
    assert found["ess"] == pytest.approx(ratios.sum() ** 2 / (len(ratios) * (ratios**2).sum()))
    weights = [
        math.prod(np.exp(r) for row, _, r, _ in tokens(policy, batch) if row == wanted)
        for wanted in range(4)
    ]
    expected = sum(weights) ** 2 / (4 * sum(weight**2 for weight in weights))
    assert found["sequence_ess"] == pytest.approx(expected, rel=1e-5)
    assert found["ratio_p50"] == pytest.approx(np.median(ratios))
    assert found["mismatch_kl"] == pytest.approx((np.exp(fresh) - 1 - fresh).mean(), rel=1e-5)
    shares = [found[f"staleness_share_{name}"] for name in ("0", "1", "2_4", "5_up")]
    assert shares == [0.25] * 4


def test_the_effective_sample_size_bears_long_responses_that_are_far_off():
    far = Distance()
    batch = LossBatch(
        behaviour_logprobs=torch.zeros(4, 900), advantages=torch.ones(4, 900),
        mask=torch.tensor([[True], [True], [True], [False]]).expand(4, 900),
        staleness=torch.zeros(4),
    )  # fmt: skip
    far.add(torch.tensor([[-2.0], [-2.0], [-3.0], [0.0]]).expand(4, 900), batch)
    assert far.metrics()["sequence_ess"] == pytest.approx(2 / 3)

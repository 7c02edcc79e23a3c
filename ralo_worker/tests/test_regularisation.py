"""KL to a reference and entropy: values and gradients leaf by leaf, token by token."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from computing import gradient_over
from small_models import random_tree, small_model

from ralo_core import BuildContext, LossBatch
from ralo_core.config import RegularisationSettings
from ralo_worker.losses.clip import ClipLoss
from ralo_worker.losses.dppo import DppoLoss
from ralo_worker.losses.settings import ClipSettings, DppoSettings
from ralo_worker.trainer.compute import head
from ralo_worker.trainer.compute.head import entropies
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.compute.regularisation import Regulariser
from ralo_worker.trainer.compute.token_means import TokenMeans
from ralo_worker.trainer.layout.micro_batches import micro_batches
from ralo_worker.trainer.layout.packs import make_packs
from ralo_worker.trainer.layout.rows import make_rows

torch.set_num_threads(1)
CONTEXT = BuildContext(role="trainer")
LOSSES = {
    "token": ClipLoss(ClipSettings(), CONTEXT),
    "sequence": ClipLoss(ClipSettings(average="sequence"), CONTEXT),
    "constant": ClipLoss(ClipSettings(average="constant", constant_tokens=20), CONTEXT),
    "no normaliser": DppoLoss(DppoSettings(), CONTEXT),
}


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def reference():
    return small_model(seed=1).requires_grad_(False)


@pytest.fixture(scope="module")
def trees():
    rng = np.random.default_rng(3)
    return [random_tree(rng, leaves) for leaves in (1, 4, 6)]


def gradient_of(model, loss, trees, advantages, regulariser, max_tokens=10_000, shared=0):
    packs = list(make_packs(make_rows(trees, advantages), shared))
    batches = micro_batches(packs, max_tokens, 0)
    return gradient_over(Policy(model), loss, batches, regulariser=regulariser)


def expected(model, reference, trees, kind, average, kl, entropy):
    """Return the gradient of the term alone and the means over tokens, as the formulas read."""
    term, divergences, uncertainties, rows = 0.0, [], [], 0
    estimate = {
        "k1": lambda p, q: p - q,
        "k2": lambda p, q: (p - q) ** 2 / 2,
        "k3": lambda p, q: torch.exp(q - p) - (q - p) - 1,
    }[kind]
    for tree in trees:
        for leaf in range(len(tree.leaves)):
            response = tree.leaf_tokens(leaf)
            tokens = torch.tensor([*tree.prompt, *response]).long()[None]
            ours = torch.log_softmax(model(tokens).logits[0] / tree.temperature, -1)
            theirs = torch.log_softmax(reference(tokens).logits[0] / tree.temperature, -1)
            rows += 1
            for t, token in enumerate(response):
                place = len(tree.prompt) + t - 1
                divergence = estimate(ours[place, int(token)], theirs[place, int(token)])
                uncertainty = -(ours[place].exp() * ours[place]).sum()
                weight = 1.0 if average == "token" else 1.0 / len(response)
                term = term + weight * (kl * divergence - entropy * uncertainty)
                divergences.append(float(divergence.detach()))
                uncertainties.append(float(uncertainty.detach()))
    count = len(divergences) if average == "token" else rows
    slopes = torch.autograd.grad(term / count, list(model.parameters()))
    names = [name for name, _ in model.named_parameters()]
    return dict(zip(names, slopes, strict=True)), np.mean(divergences), np.mean(uncertainties)


def regulariser_of(loss, reference, **settings):
    chosen = RegularisationSettings(**settings)
    return Regulariser(
        settings=chosen, loss=loss, reference=Policy(reference) if chosen.kl else None
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("kind", "kl", "entropy"),
    [("k1", 0.7, 0.0), ("k2", 0.7, 0.3), ("k3", 0.7, 0.0), ("k3", 0, 0.3)],
)
def test_the_terms_are_the_formulas(model, reference, trees, name, kind, kl, entropy):
    loss = LOSSES[name]
    average = "token" if name in ("token", "no normaliser") else "response"
    rng = np.random.default_rng(5)
    advantages = [rng.normal(size=len(tree.leaves)).astype(np.float32) for tree in trees]
    regulariser = regulariser_of(loss, reference, kl=kl, kl_estimator=kind, entropy=entropy)
    plain = gradient_of(model, loss, trees, advantages, None)
    both = gradient_of(model, loss, trees, advantages, regulariser)
    slopes, divergence, uncertainty = expected(model, reference, trees, kind, average, kl, entropy)
    assert both.weight == plain.weight
    assert both.metrics["loss"] == plain.metrics["loss"], "the loss is reported as it is"
    assert both.metrics["entropy"] == pytest.approx(uncertainty, rel=1e-5)
    assert plain.metrics["entropy"] == both.metrics["entropy"]
    if kl:
        assert both.metrics["reference_kl"] == pytest.approx(divergence, rel=1e-4, abs=1e-6)
    assert ("reference_kl" in both.metrics) == bool(kl)
    for key, value in slopes.items():
        error = (both.tensors[key] - plain.tensors[key] - value).norm() / value.norm()
        assert error < 1e-4, key


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_does_not_depend_on_how_the_batch_is_cut(model, reference, trees, name):
    """Rows without advantage are among them: they have terms of their own."""
    loss = LOSSES[name]
    advantages = [np.zeros(len(tree.leaves), np.float32) for tree in trees]
    advantages[1][:2] = 1.0, -0.5
    regulariser = regulariser_of(loss, reference, kl=0.7, entropy=0.3)
    found = [
        gradient_of(model, loss, trees, advantages, regulariser, max_tokens, shared)
        for max_tokens in (1, 40, 10_000)
        for shared in (0, 10_000)
    ]
    for other in found[1:]:
        assert other.metrics == pytest.approx(found[0].metrics, rel=1e-4, abs=1e-6)
        for key, value in found[0].tensors.items():
            torch.testing.assert_close(other.tensors[key], value, rtol=1e-4, atol=1e-6)


def test_a_reference_that_the_policy_still_is_costs_nothing(model, trees):
    advantages = [np.ones(len(tree.leaves), np.float32) for tree in trees]
    loss = LOSSES["token"]
    plain = gradient_of(model, loss, trees, advantages, None)
    with_kl = gradient_of(
        model, loss, trees, advantages, regulariser_of(loss, small_model(), kl=1.0)
    )
    assert with_kl.metrics["reference_kl"] == pytest.approx(0.0, abs=1e-9)
    for key, value in plain.tensors.items():
        torch.testing.assert_close(with_kl.tensors[key], value, rtol=1e-4, atol=1e-6)


def test_entropies_do_not_depend_on_the_parts(monkeypatch):
    logits = torch.randn(23, 50, generator=torch.Generator().manual_seed(0))
    found = []
    for size in (1, 50 * 7, 1 << 24):
        monkeypatch.setattr(head, "_CPU_SOFTMAX_VALUES", size)
        leaf = logits.clone().requires_grad_()
        values = entropies(leaf)
        found.append((values.detach(), *torch.autograd.grad(values.sum(), leaf)))
    for values, slope in found[1:]:
        torch.testing.assert_close(values, found[0][0])
        torch.testing.assert_close(slope, found[0][1])


def test_a_reference_that_is_infinitely_far_does_not_end_the_run(model, trees):
    far = small_model(seed=2)
    with torch.no_grad():
        far.model.embed_tokens.weight.mul_(1e4)
    advantages = [np.ones(len(tree.leaves), np.float32) for tree in trees]
    loss = LOSSES["token"]
    found = gradient_of(model, loss, trees, advantages, regulariser_of(loss, far, kl=1.0))
    assert all(torch.isfinite(value).all() for value in found.tensors.values())


@pytest.mark.parametrize("name", LOSSES)
def test_a_response_without_tokens_has_no_terms(name):
    mask = torch.tensor([[True, True], [False, False]])
    batch = LossBatch(
        behaviour_logprobs=torch.zeros(2, 2), advantages=torch.ones(2, 2), mask=mask,
        staleness=torch.zeros(2),
    )  # fmt: skip
    regulariser = regulariser_of(LOSSES[name], None, entropy=0.5)
    rows, values = SimpleNamespace(loss_batch=batch), torch.full((2, 2), 3.0)
    term = regulariser.term(torch.zeros(2, 2), values, rows, TokenMeans())
    responses = 2 if name in ("token", "no normaliser") else 1
    assert float(term) == pytest.approx(-0.5 * 3.0 * responses)

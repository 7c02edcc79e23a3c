"""Layers that are computed again: the same gradient, and what they keep in between is gone."""

import numpy as np
import pytest
import torch
from computing import gradient_over
from plain_gradient import plain_gradient
from small_models import random_tree, small_model

from ralo_core import BuildContext, RaloError
from ralo_core.config import TrainerSettings
from ralo_worker.losses.clip import ClipLoss
from ralo_worker.losses.settings import ClipSettings
from ralo_worker.trainer.compute.checkpointing import recompute
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.layout.micro_batches import micro_batches
from ralo_worker.trainer.layout.packs import make_packs
from ralo_worker.trainer.layout.rows import make_rows

torch.set_num_threads(1)
LAYERS = 4
LOSS = ClipLoss(ClipSettings(), BuildContext(role="trainer"))


@pytest.fixture(scope="module")
def trees():
    return [random_tree(np.random.default_rng(3), leaves) for leaves in (1, 4, 6)]


def batch_of(trees):
    advantages = [np.linspace(-1, 1, len(tree.leaves), dtype=np.float32) for tree in trees]
    packs = list(make_packs(make_rows(trees, advantages), 10_000))
    return list(micro_batches(packs, 10_000, 0)), advantages


def policy_of(share, **settings):
    model = small_model(num_hidden_layers=LAYERS)
    return Policy(model, TrainerSettings(checkpoint_layers=share, **settings))


@pytest.mark.parametrize(("share", "again"), [(0, 0), (0.1, 1), (0.5, 2), (0.8, 3), (1, 4)])
def test_a_share_of_the_layers_runs_twice_the_first_ones_and_the_gradient_is_the_same(
    trees, share, again
):
    policy, calls = policy_of(share), [0] * LAYERS
    for index, layer in enumerate(policy.model.model.layers):

        def count(*_, index=index):
            calls[index] += 1

        layer.mlp.act_fn.register_forward_hook(count)
    batches, advantages = batch_of(trees)
    found = gradient_over(policy, LOSS, batches)
    assert calls == [2] * again + [1] * (LAYERS - again)
    expected, _, _ = plain_gradient(policy.model, trees, advantages)
    for name, value in expected.items():
        assert (found.tensors[name] - value).norm() / value.norm() < 1e-5, name


def kept_bytes(policy, batch):
    """What a forward pass keeps for the backward pass, weights aside."""
    weights = {parameter.data_ptr() for parameter in policy.parameters()}
    kept = {}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        policy(batch)
    return sum(tensor.nbytes for tensor in kept.values())


def test_every_further_layer_keeps_less(trees):
    (batch,), _ = batch_of(trees)
    kept = [kept_bytes(policy_of(share / LAYERS), batch) for share in range(LAYERS + 1)]
    assert kept == sorted(kept, reverse=True)
    saved = np.diff(kept)
    assert saved.min() > 1.2 * saved.max(), "each layer saves about the same"
    assert kept[-1] < 0.4 * kept[0]


def test_a_mask_is_kept_once_for_all_layers(trees):
    """Such a batch has a mask of its own, which every layer needs as numbers."""
    (batch,), _ = batch_of(trees)
    assert batch.attention is not None
    policy, kept = policy_of(0), {}

    def keep(tensor):
        if tensor.shape == batch.attention.shape:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        policy(batch)
    assert len(kept) == 1


def test_a_model_that_does_not_name_its_layers_is_refused():
    model = small_model()
    model._no_split_modules = None
    recompute(model, 0)
    with pytest.raises(RaloError, match=r"checkpoint_layers = 0"):
        recompute(model, 0.5)

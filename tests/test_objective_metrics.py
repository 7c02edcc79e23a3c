"""What is logged of the objective is there with every loss, and the page of metrics explains it."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from computing import gradient_over
from transformers import AutoModelForCausalLM

from ralo_core import BuildContext
from ralo_core.config import RegularisationSettings
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_core.structuring import structure
from ralo_core.testing import random_tree
from ralo_tasks.tiny_model.model import make_tiny_model
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.compute.regularisation import Regulariser
from ralo_worker.trainer.layout.micro_batches import micro_batches
from ralo_worker.trainer.layout.packs import make_packs
from ralo_worker.trainer.layout.rows import make_rows

torch.set_num_threads(1)

REGISTRY = Registry(PluginHost(strict=True).load())
CONTEXT = BuildContext(role="trainer")
PAGE = (Path(__file__).parent.parent / "docs" / "metrics.md").read_text(encoding="utf-8")
ALWAYS = {
    "loss", "ratio_p01", "ratio_p50", "ratio_p99", "ess", "sequence_ess", "staleness_share_0",
    "staleness_share_1", "staleness_share_2_4", "staleness_share_5_up", "mismatch_kl", "entropy",
    "reference_kl", "masked_fraction/opsm", "masked_fraction/staleness",
}  # fmt: skip
CUTS_NOTHING = {"policy_gradient"}


def build(kind, name):
    cls = REGISTRY.settings_class(kind, name)
    settings = None if cls is None else structure({}, cls, name)
    return REGISTRY.build(kind, name, settings, CONTEXT)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "model"
    make_tiny_model(folder, seed=0, warmup_steps=0)
    return AutoModelForCausalLM.from_pretrained(folder)


def documented():
    """Return the names of the page's tables of metrics."""
    cells = re.findall(r"^\| (`.*?) \|", PAGE, flags=re.M)
    return {name for cell in cells for name in re.findall(r"`([\w/<>]+)`", cell)}


@pytest.mark.parametrize("name", REGISTRY.entries("loss"))
def test_everything_is_logged_with_every_loss_and_explained(model, name):
    trees = [random_tree(seed) for seed in range(3)]
    rng = np.random.default_rng(0)
    rows = make_rows(trees, [rng.normal(size=len(t.leaves)).astype(np.float32) for t in trees])
    newest = max(row.newest_version for row in rows)
    loss = build("loss", name)
    settings = RegularisationSettings(kl=0.1)
    metrics = gradient_over(
        Policy(model),
        loss,
        micro_batches(list(make_packs(rows, 0)), 1000, newest),
        corrections={each: build("correction", each) for each in ("opsm", "staleness")},
        regulariser=Regulariser(settings=settings, loss=loss, reference=Policy(model)),
    ).metrics
    assert metrics.keys() >= ALWAYS
    assert ("clip_fraction" in metrics) == (name not in CUTS_NOTHING)
    said = {re.sub("^masked_fraction/.*", "masked_fraction/<correction>", each) for each in metrics}
    assert not said - documented()

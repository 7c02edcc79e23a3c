"""Ranks of a trainer, real processes over gloo, compute the gradient that one process computes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from patience import PATIENCE
from ranks_at_work import computation, some_trees
from safetensors.torch import load_file

from ralo_worker.trainer.parallel.group import Group

torch.set_num_threads(1)

SCRIPT = Path(__file__).with_name("ranks_at_work.py")
EVERYTHING = (
    "regularisation.kl=0.1",
    "regularisation.entropy=0.01",
    "correction.pipeline=['tis', 'm2po']",
    "correction.m2po.tau=0.3",
    "trainer.microbatch_tokens=60",
    "trainer.shared_tokens=30",
)


def by_ranks(folder, count, leaves, settings):
    """Run so many ranks; their gradients lie in `folder`, whole and sharded."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(count), str(SCRIPT), str(folder)]
    command += [json.dumps(leaves), json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.slow
def test_the_way_of_local_steps_is_that_of_one_process(tmp_path):
    settings = ["local_steps.steps=2", "local_steps.lr=0.01", "trainer.shared_tokens=30"]
    alone = computation(Group(), settings)
    for _ in range(2):  # the moments of the first go into the second, on every rank
        whole = alone.gradient(some_trees((2, 7, 9, 1)), 2)
    by_ranks(tmp_path, 2, (2, 7, 9, 1), settings)
    for sharding in ("none", "full"):
        tensors = load_file(tmp_path / sharding / "gradient.safetensors")
        assert tensors.keys() == whole.tensors.keys()
        for name, value in whole.tensors.items():
            assert (tensors[name] - value).norm() / value.norm() < 1e-3, name


@pytest.mark.slow
@pytest.mark.parametrize(("count", "leaves"), [(2, (2, 7, 9, 1)), (4, (2, 7, 9, 1)), (3, (5,))])
def test_the_gradient_is_that_of_one_process(tmp_path, count, leaves):
    settings = [*EVERYTHING]
    if len(leaves) == 1:  # of the one pack of one tree two of three ranks have nothing
        settings.append("trainer.shared_tokens=10000")
    whole = computation(Group(), settings).gradient(some_trees(leaves), 2)
    by_ranks(tmp_path, count, leaves, settings)
    for sharding in ("none", "full"):
        tensors = load_file(tmp_path / sharding / "gradient.safetensors")
        info = json.loads((tmp_path / sharding / "info.json").read_text())
        assert info["weight"] == pytest.approx(whole.weight, rel=1e-6)
        assert info["metrics"] == pytest.approx(whole.metrics, rel=1e-4)
        assert tensors.keys() == whole.tensors.keys()
        for name, value in whole.tensors.items():
            assert (tensors[name] - value).norm() / value.norm() < 1e-5, name
        assert max(info["values"]) < 0.8 * sum(info["values"]), "each rank has a part"

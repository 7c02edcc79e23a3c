"""The features that save memory on a policy that FSDP2 has sharded, over one gloo rank."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from computing import parallel_of
from plain_gradient import plain_gradient
from small_models import random_tree, small_model
from torch.distributed.fsdp import fully_shard

from ralo_core import BuildContext
from ralo_core.config import TrainerSettings
from ralo_worker.losses.clip import ClipLoss
from ralo_worker.losses.settings import ClipSettings
from ralo_worker.trainer.compute.checkpointing import decoder_layers
from ralo_worker.trainer.compute.policy import Policy

torch.set_num_threads(1)
WORDS = 30_000
LOSS = ClipLoss(ClipSettings(), BuildContext(role="trainer"))


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    store = dist.FileStore(str(tmp_path_factory.mktemp("gloo") / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("offloaded", [False, True])
def test_the_gradient_of_a_sharded_policy_is_the_formula(one_rank, offloaded):
    trees = [random_tree(np.random.default_rng(3), leaves) for leaves in (1, 4, 6)]
    advantages = [np.linspace(-1, 1, len(tree.leaves), dtype=np.float32) for tree in trees]
    expected, _, count = plain_gradient(small_model(vocab_size=WORDS), trees, advantages)
    settings = TrainerSettings(checkpoint_layers=0.5, head_chunk_mb=1)
    policy = Policy(small_model(vocab_size=WORDS), settings)
    mesh = dist.init_device_mesh("cpu", (1,))
    for layer in decoder_layers(policy.model):
        fully_shard(layer, mesh=mesh)
    fully_shard(policy, mesh=mesh)
    parallel = parallel_of(
        policy, LOSS, advantages=advantages, offloaded=offloaded, microbatch_tokens=40,
        shared_tokens=40,
    )  # fmt: skip
    found = parallel.gradient(trees, 0)
    assert found.weight == count
    assert found.tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert (found.tensors[name] - value).norm() / value.norm() < 1e-5, name

"""One rank of a group that computes the gradient of random trees; started by torchrun.

Rank 0 writes the gradient of the group.
"""

import json
import sys
from pathlib import Path

import attrs
import numpy as np
import torch
from safetensors.torch import save_file
from small_models import random_tree, small_model

from ralo_core.config import LocalStepsSettings, TrainerSettings, resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.parallel.data_parallel import open_data_parallel
from ralo_worker.trainer.parallel.group import open_group
from ralo_worker.trainer.parallel.local_steps import LocalSteps
from ralo_worker.trainer.parallel.sharding import shard
from ralo_worker.trainer.parallel.stop_check import CommonStopCheck, StopCheck


def some_trees(leaves):
    """Trees of so many leaves each, with rewards."""
    rng = np.random.default_rng(3)
    grown = [random_tree(rng, count) for count in leaves]
    return [
        tree.with_rewards({}, rng.integers(0, 2, len(tree.leaves)).astype(np.float32))
        for tree in grown
    ]


def computation(group, settings):
    """What computes the gradients of `settings` on the ranks of `group`."""
    config = resolve([set_layer(settings)], Registry(PluginHost(strict=True).load()))
    trainer = config.section(TrainerSettings)

    def policy(seed):
        made = Policy(small_model(seed), trainer)
        return shard(made, group) if trainer.sharding == "full" else made

    inner = config.section(LocalStepsSettings)
    stop = CommonStopCheck(channel=group.control) if trainer.sharding == "full" else StopCheck()
    whole = open_data_parallel(config, policy(0), policy(1), group=group, stop=stop)
    return LocalSteps(whole, inner) if inner.steps else whole


def main(folder, leaves, settings):
    torch.set_num_threads(1)
    group = open_group()
    for sharding in ("none", "full"):
        works = computation(group, [*settings, f"trainer.sharding={sharding}"])
        for _ in range(2):  # the second must not know of the first
            gradient = works.gradient(some_trees(leaves), 2)
        everyone = group.control.gather(attrs.asdict(gradient, recurse=False))
        if group.leads:
            write(folder / sharding, gradient, [each["tensors"] for each in everyone])
    group.close()


def write(folder, gradient, parts):
    """Write what the ranks have together, and how much of it each has."""
    folder.mkdir()
    tensors = {name: value for part in parts for name, value in part.items()}
    assert sum(map(len, parts)) == len(tensors), "a parameter has one owner"
    save_file(tensors, folder / "gradient.safetensors")
    values = [sum(value.numel() for value in part.values()) for part in parts]
    info = {"weight": gradient.weight, "metrics": gradient.metrics, "values": values}
    (folder / "info.json").write_text(json.dumps(info))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]))

"""One gradient by 1, 2 and 4 gloo ranks, whole and sharded: how far from that of one process, how
long, and what each rank keeps.

A random Qwen2 of 5 M parameters, random trees of uneven size; every rank has one thread. More ranks
than cores show that the gradient is the same, not that it comes sooner.

    python benchmarks/trainer_ranks.py
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from ralo_core import PROMPT, RolloutTree, TreeBuilder
from ralo_core.config import TrainerSettings, resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.parallel.data_parallel import DataParallel, open_data_parallel
from ralo_worker.trainer.parallel.group import Group, open_group
from ralo_worker.trainer.parallel.sharding import shard
from ralo_worker.trainer.parallel.stop_check import CommonStopCheck, StopCheck

COUNTS, REPEATS, TREES = (1, 2, 4), 3, 24
WORDS = 4096


def main() -> None:
    """Print a row per number of ranks and kind of sharding."""
    print(f"{os.cpu_count()} cores")
    print(f"{'ranks':>5} {'sharding':8} {'difference':>10} {'time':>5} {'MB kept per rank':>16}")
    base = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for sharding in ("none", "full"):
            for count in COUNTS:
                if count == 1 and sharding == "full":
                    continue
                found = by_ranks(count, sharding, Path(folder))
                base = base or found["seconds"]
                print(
                    f"{count:5} {sharding:8} {found['difference']:10.1e} "
                    f"{found['seconds'] / base:5.2f} {found['kept'] / 1e6:16.1f}",
                    flush=True,
                )


def by_ranks(count: int, sharding: str, folder: Path) -> dict[str, float]:
    """Start this script in so many ranks; return what rank 0 found."""
    output = folder / f"{count}-{sharding}.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += [str(count), __file__, sharding, str(output)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found: dict[str, float] = json.loads(output.read_text())
    return found


def rank(sharding: str, output: Path) -> None:
    """Compute the same gradient a few times with the group, and on rank 0 by itself."""
    torch.set_num_threads(1)
    group, trees = open_group(), random_trees()
    works = computation(sharding, group)
    durations = []
    for _ in range(REPEATS):
        group.control.gather(0)  # so that all begin together
        started = time.perf_counter()
        gradient = works.gradient(trees, 0)
        durations.append(time.perf_counter() - started)
    assert gradient is not None
    parts = group.control.gather(gradient.tensors)
    kept = 2 * sum(local(value).nbytes for value in works.objective.gradients.trained.values())
    if group.leads:
        tensors = {name: value for part in parts for name, value in part.items()}
        alone = computation("none", Group()).gradient(trees, 0)
        assert alone is not None
        worst = max(
            float((tensors[name] - value).norm() / value.norm())
            for name, value in alone.tensors.items()
        )
        report = {"difference": worst, "seconds": min(durations), "kept": kept}
        output.write_text(json.dumps(report))
    group.close()


def computation(sharding: str, group: Group) -> DataParallel:
    """Return what computes the default gradient of a random model, over `group`."""
    config = resolve([set_layer([f"trainer.sharding={sharding}"])], Registry(PluginHost().load()))
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=WORDS, hidden_size=256, intermediate_size=1024, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=True,
        )
    ).eval()  # fmt: skip
    policy = Policy(model, config.section(TrainerSettings))
    if sharding == "full":
        policy = shard(policy, group)
    stop = CommonStopCheck(channel=group.control) if sharding == "full" else StopCheck()
    return open_data_parallel(config, policy, group=group, stop=stop)


def random_trees() -> list[RolloutTree]:
    """Return trees of eight leaves of 20 to 120 tokens."""
    rng = np.random.default_rng(0)
    trees = []
    for number in range(TREES):
        builder = TreeBuilder(f"p{number}", rng.integers(0, WORDS, 30))
        for _ in range(8):
            size = int(rng.integers(20, 120))
            node = builder.add_segment(PROMPT, rng.integers(0, WORDS, size), np.full(size, -8.3), 0)
            builder.add_leaf(node, "eos")
        rewards = rng.integers(0, 2, 8).astype(np.float32)
        trees.append(builder.build().with_rewards({}, rewards))
    return trees


def local(value: Tensor) -> Tensor:
    """Return what of a parameter lies in this process."""
    return value.to_local() if isinstance(value, DTensor) else value


if __name__ == "__main__":
    if len(sys.argv) == 3:
        rank(sys.argv[1], Path(sys.argv[2]))
    else:
        main()

"""One gradient of a model of random weights with given settings of the trainer; prints JSON.

Memory is what the gradient takes beyond the model itself: anonymous memory of this process, or on a
GPU what torch has allocated there. The first one of a comparison saves its gradient, the others
tell how far theirs is from it.

python trainer_gradient.py FOLDER THREADS [SETTING...]
"""

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from measuring import Peak, sampled_memory
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from ralo_core import PROMPT, RolloutTree, TreeBuilder
from ralo_core.config import Config, TrainerSettings, resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_worker.trainer.compute.gradient import Gradient
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.parallel.data_parallel import open_data_parallel

WORDS, PROMPT_TOKENS, RESPONSES = 76_800, 256, (16, 3_840)
SHAPE = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8,
         "num_attention_heads": 8, "num_key_value_heads": 2}  # fmt: skip
LAYOUT = ("trainer.microbatch_tokens=4096", "trainer.shared_tokens=0")


def make_model() -> Qwen2ForCausalLM:
    """Return the untrained model, on the GPU if there is one."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=WORDS, tie_word_embeddings=False, max_position_embeddings=4096, **SHAPE
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Qwen2ForCausalLM(config).eval().to(device)


def make_tree() -> RolloutTree:
    """Return a sequence of 4,096 tokens, and a short one that it is compared with."""
    rng = np.random.default_rng(0)
    builder = TreeBuilder("p", rng.integers(0, WORDS, PROMPT_TOKENS))
    for size in RESPONSES:
        tokens, logprobs = rng.integers(0, WORDS, size), np.full(size, -math.log(WORDS))
        builder.add_leaf(builder.add_segment(PROMPT, tokens, logprobs, 0), "length")
    return builder.build().with_rewards({}, np.arange(len(RESPONSES), dtype=np.float32))


@contextmanager
def measured() -> Iterator[Peak]:
    """Measure the memory of the block where the model is."""
    if not torch.cuda.is_available():
        with sampled_memory() as peak:
            yield peak
        return
    torch.cuda.reset_peak_memory_stats()
    peak = Peak(torch.cuda.memory_allocated(), 0)
    yield peak
    torch.cuda.synchronize()
    peak.most = torch.cuda.max_memory_allocated()


def distance(gradient: Gradient, file: Path) -> float:
    """Return how far the gradient is from the one in `file`, relative to that; 0 and saved where
    there is none."""
    if not file.exists():
        save_file(gradient.tensors, file)
        return 0.0
    off = whole = 0.0
    with safe_open(file, framework="pt") as first:
        for name, value in gradient.tensors.items():
            expected = first.get_tensor(name)
            off += float((value - expected).double().square().sum())
            whole += float(expected.double().square().sum())
    return math.sqrt(off / whole)


def configured(settings: list[str]) -> Config:
    """Return the default config with the batch's layout and `settings`."""
    registry = Registry(PluginHost().load())
    return resolve([set_layer(["loss.use=clip", *LAYOUT, *settings])], registry)


def main() -> None:
    """Compute one gradient, and print what it took."""
    folder, threads, *settings = sys.argv[1:]
    torch.set_num_threads(int(threads))
    config = configured(settings)
    model = make_model()
    computation = open_data_parallel(config, Policy(model, config.section(TrainerSettings)))
    tree = make_tree()
    with measured() as peak:
        started, worked = time.perf_counter(), time.process_time()
        gradient = computation.gradient([tree], 0)
        seconds, work = time.perf_counter() - started, time.process_time() - worked
    assert gradient is not None
    report = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bytes": peak.most - peak.before,
        "seconds": seconds,
        "cpu_seconds": work,
        "distance": distance(gradient, Path(folder) / "gradient.safetensors"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()

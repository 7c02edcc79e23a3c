"""The gradient of flat groups with several responses in one sequence, against one each, padded.

Lengths spread in three ways, on a model of three million parameters and, with LARGE, on one of 65
million; both ways in turn on the same rows. `predicted` is what the trainer's cost model, which
chooses, expects of the time. The gradients are compared, too.

    python benchmarks/sequence_packing.py [REPEATS [LARGE]]
"""

import statistics
import sys
import time
from collections.abc import Callable

import attrs
import numpy as np
import torch
from contestants.one_gradient import gradient_of
from transformers import Qwen2Config, Qwen2ForCausalLM

from ralo_core import PROMPT, BuildContext, RolloutTree, TreeBuilder
from ralo_worker.losses.clip import ClipLoss
from ralo_worker.losses.settings import ClipSettings
from ralo_worker.trainer.compute.model import pair_cost
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.layout.forests import cost, make_forests
from ralo_worker.trainer.layout.micro_batches import cut, micro_batches
from ralo_worker.trainer.layout.packs import Pack, make_packs
from ralo_worker.trainer.layout.rows import make_rows

PROMPT_TOKENS, MICROBATCH_TOKENS, LIMIT = 24, 16384, 4096
SPREADS: dict[str, Callable[[np.random.Generator, int], float]] = {
    "equal": lambda rng, size: 1.0,
    "uniform": lambda rng, size: rng.uniform(0.1, 1.0),
    "long tail": lambda rng, size: min(1.0, rng.lognormal(-2.0, 0.8)),
}


@attrs.frozen
class Scale:
    """A model's shape, and the groups that it is trained on."""

    name: str
    hidden: int
    layers: int
    groups: int
    group: int
    longest: tuple[int, ...]


SMALL = Scale("small", 256, 4, groups=8, group=8, longest=(64, 256, 1024))
LARGE = Scale("large", 768, 9, groups=2, group=4, longest=(512, 2048))


def groups(scale: Scale, spread: str, longest: int) -> list[RolloutTree]:
    """Return flat groups whose responses have at most `longest` tokens."""
    rng = np.random.default_rng(longest)
    trees = []
    for number in range(scale.groups):
        builder = TreeBuilder(f"p{number}", rng.integers(0, 64, PROMPT_TOKENS).tolist())
        for _ in range(scale.group):
            size = max(1, int(SPREADS[spread](rng, longest) * longest))
            tokens, logprobs = rng.integers(0, 64, size), -rng.uniform(3, 5, size)
            builder.add_leaf(builder.add_segment(PROMPT, tokens, logprobs, 0), "length")
        trees.append(builder.build())
    return trees


def make_model(scale: Scale) -> Qwen2ForCausalLM:
    """Return an untrained model of this shape."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=64, hidden_size=scale.hidden, intermediate_size=scale.hidden * 11 // 4,
        num_hidden_layers=scale.layers, num_attention_heads=scale.hidden // 64,
        num_key_value_heads=scale.hidden // 128, tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


def tensors(model: Qwen2ForCausalLM, packs: list[Pack]) -> dict[str, torch.Tensor]:
    """Return the gradient of the clip loss."""
    loss = ClipLoss(ClipSettings(), BuildContext(role="trainer"))
    return gradient_of(Policy(model), loss, micro_batches(packs, MICROBATCH_TOKENS, 0))


def computed(packs: list[Pack]) -> int:
    """Return the tokens that go through the model, padding included."""
    return sum(len(batch) * len(batch[-1].tokens) for batch in cut(packs, MICROBATCH_TOKENS))


def compare(model: Qwen2ForCausalLM, trees: list[RolloutTree], repeats: int) -> str:
    """Return the numbers of one line."""
    rng = np.random.default_rng(0)
    advantages = [rng.normal(size=len(tree.leaves)).astype(np.float32) for tree in trees]
    price = pair_cost(model)
    apart = list(make_packs(make_rows(trees, advantages), 0))
    ways = {"joined": make_forests(apart, LIMIT, MICROBATCH_TOKENS, price), "padded": apart}
    times: dict[str, list[float]] = {name: [] for name in ways}
    results = {}
    for _ in range(repeats):
        for name, packs in ways.items():
            started = time.process_time()
            results[name] = tensors(model, packs)
            times[name].append(time.process_time() - started)
    joined, padded = (statistics.median(times[name]) for name in ways)
    real = sum(len(pack.tokens) for pack in apart)
    shares = [1 - real / computed(packs) for packs in ways.values()]
    predicted, expected = (cost(packs, MICROBATCH_TOKENS, price) for packs in ways.values())
    difference = max(
        float((results["joined"][name] - value).norm() / value.norm())
        for name, value in results["padded"].items()
    )
    return (
        f"{len(ways['joined']):4} / {len(apart):3} | {shares[0]:4.0%} / {shares[1]:4.0%} | "
        f"{joined:6.2f} / {padded:6.2f} = {joined / padded:.2f} | {predicted / expected:.2f} | "
        f"{difference:.0e}"
    )


def main() -> None:
    """Print a line per model, longest response and spread of lengths."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    torch.set_num_threads(1)
    print(
        "model longest lengths   | sequences joined/padded | padding joined/padded | "
        "CPU seconds joined/padded | predicted | difference"
    )
    for scale in (SMALL, LARGE) if len(sys.argv) > 2 else (SMALL,):
        model = make_model(scale)
        for longest in scale.longest:
            for spread in SPREADS:
                line = compare(model, groups(scale, spread, longest), repeats)
                print(f"{scale.name:5} {longest:7} {spread:9} | {line}", flush=True)


if __name__ == "__main__":
    main()

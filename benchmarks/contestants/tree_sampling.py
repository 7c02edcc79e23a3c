"""Tree sampling against independent sampling of as many responses, on any engine.

Two models. The `embedded` one, warmed up on sums, ends its responses by itself after some twenty
tokens; what is compared is real work on the task. The `endless` one has random weights and hardly
ever ends, so that long responses and the prefix cache can be looked at. The settings are the
paper's for a response (7 x 1024, 14 x 512, 28 x 256, 56 x 128 tokens), scaled to its length.

Two savings that are easily taken for one another:

    shared   1 - decoded by the tree / tokens of the same leaves, each decoded by itself
    saved    1 - decoded by the tree / decoded by an independent run of as many responses

Where a tree ends below its branches they differ: width goes to what lives on, so a tree's leaves
are longer than independent responses. Prompts are new in every round, so nothing is in the cache
from before.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from pathlib import Path
from random import Random

import attrs
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from ralo_core import BuildContext, EngineStats, Problem, RolloutTree, SamplingContext
from ralo_core.config import PromptSettings
from ralo_core.protocols import InferenceEngine
from ralo_grpo.sampler import GroupSampler, GroupSamplerSettings
from ralo_tasks.arithmetic import ArithmeticProvider, ArithmeticSettings
from ralo_tasks.tiny_model.model import make_tiny_model
from ralo_treepo.sampler import TreeSampler
from ralo_treepo.settings import TreeSamplerSettings
from ralo_worker.prompting import Prompting, load_tokenizer

WIDTH, ROUNDS = 16, 5
VOCABULARY = 4096
OpenEngine = Callable[[Path], InferenceEngine]


@attrs.frozen
class Task:
    """A model with prompts for it: `contexts` of problem numbers from..to, trees of `shapes`."""

    name: str
    directory: Path
    contexts: Callable[[int, int], Sequence[SamplingContext]]
    shapes: Sequence[tuple[int, int]]
    problems: int


def embedded(directory: Path) -> Task:
    """Return sums for the embedded model; at most 32 tokens."""
    make_tiny_model(directory, seed=0)
    tokenizer = load_tokenizer(directory)
    prompting = Prompting(PromptSettings(), tokenizer)
    source = ArithmeticProvider(ArithmeticSettings(), BuildContext(role="cli", seed=0))
    problems = list(islice(source, 2000))

    def contexts(start: int, stop: int) -> list[SamplingContext]:
        prompts = [prompting.render(problem) for problem in problems[start:stop]]
        return [
            _context(prompt, tokenizer.eos_token_id, tokenizer.decode, start + index)
            for index, prompt in enumerate(prompts)
        ]

    return Task("embedded model, sums", directory, contexts, [(4, 8), (8, 4), (16, 2), (32, 1)], 32)


def endless(directory: Path) -> Task:
    """Return random prompts of 96 tokens for a random model of 12 million; 256 tokens."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=384, intermediate_size=1024, num_hidden_layers=6,
        num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=512,
        tie_word_embeddings=True, eos_token_id=1, pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(directory)

    def contexts(start: int, stop: int) -> list[SamplingContext]:
        prompts = [
            tuple(Random(number).choices(range(2, VOCABULARY), k=96))  # noqa: S311
            for number in range(start, stop)
        ]
        return [_context(prompt, 1, str, start + n) for n, prompt in enumerate(prompts)]

    return Task("12 M random model", directory, contexts, [(4, 64), (8, 32), (16, 16), (32, 8)], 4)


def _context(
    prompt: Sequence[int], eos: int, decode: Callable[..., str], seed: int
) -> SamplingContext:
    return SamplingContext(
        prompt=tuple(prompt),
        eos_token_ids=frozenset({eos}),
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_tokens=400,
        random=Random(seed),  # noqa: S311 (needs no secrecy)
        decode=decode,
    )


@attrs.define
class Cost:
    """What one contestant spent and got, in all rounds; seconds per round."""

    decoded: int = 0
    prefilled: int = 0
    prompt: int = 0
    leaves: int = 0
    leaf_tokens: int = 0
    seconds: list[float] = attrs.field(factory=list)

    def add(
        self, trees: Sequence[RolloutTree], before: EngineStats, after: EngineStats, seconds: float
    ) -> None:
        """Count one round."""
        prompt = after.prompt_tokens - before.prompt_tokens
        self.decoded += after.decoded_tokens - before.decoded_tokens
        self.prompt += prompt
        self.prefilled += prompt - (after.cached_tokens - before.cached_tokens)
        self.leaves += sum(len(tree.leaves) for tree in trees)
        self.leaf_tokens += sum(int(tree.response_lengths().sum()) for tree in trees)
        self.seconds.append(seconds)


async def measured(
    engine: InferenceEngine, cost: Cost, work: Awaitable[Sequence[RolloutTree]]
) -> None:
    """Do `work` and book what it cost."""
    before, started = engine.stats(), time.perf_counter()
    trees = await work
    seconds = time.perf_counter() - started
    cost.add(trees, before, engine.stats(), seconds)


async def compare(
    engine: InferenceEngine, task: Task, depth: int, segment: int
) -> tuple[Cost, Cost]:
    """Return the costs of tree and independent sampling, taken in turns."""
    tree, single = Cost(), Cost()
    role = BuildContext(role="sampler")
    growing = TreeSampler(
        TreeSamplerSettings(width=WIDTH, depth=depth, segment_tokens=segment, stop_boxed=False,
                            stop_repetition="off"), role
    )  # fmt: skip
    group = GroupSampler(GroupSamplerSettings(group=WIDTH, max_tokens=depth * segment), role)
    for number in range(ROUNDS):
        first = 2 * number * task.problems
        for algorithm, cost in ((growing, tree), (group, single)):
            contexts = task.contexts(first, first + task.problems)
            work = asyncio.gather(
                *(
                    algorithm.sample(Problem(id=str(n), prompt="", answer=""), engine, context)
                    for n, context in enumerate(contexts)
                )
            )
            await measured(engine, cost, work)
            first += task.problems
    return tree, single


async def run(open_engine: OpenEngine, models: Path) -> None:
    """Print the table of both tasks."""
    for make in (embedded, endless):
        task = make(models / make.__name__)
        engine = open_engine(task.directory)
        await compare(engine, task, 2, 4)  # the first calls compile
        print(f"\n{task.name}: {task.problems} problems at once, width {WIDTH}, {ROUNDS} rounds")
        print("depth x segment   shared  saved | leaf tokens tree/indep. | decoded   prefilled"
              "  seconds (tree / independent) | cache hits")  # fmt: skip
        for depth, segment in task.shapes:
            show(depth, segment, *await compare(engine, task, depth, segment))
        await engine.close()


def show(depth: int, segment: int, tree: Cost, single: Cost) -> None:
    """Print one line of the table."""
    lengths = [cost.leaf_tokens / cost.leaves for cost in (tree, single)]
    seconds = statistics.median(tree.seconds) / statistics.median(single.seconds)
    hits = [1 - cost.prefilled / cost.prompt for cost in (tree, single)]
    print(
        f"{depth:5} x {segment:3}         {1 - tree.decoded / tree.leaf_tokens:6.1%} "
        f"{1 - tree.decoded / single.decoded:6.1%} | {lengths[0]:10.1f} / {lengths[1]:5.1f}      "
        f"| {tree.decoded / single.decoded:6.2f} {tree.prefilled / single.prefilled:10.2f} "
        f"{seconds:9.2f}                       | {hits[0]:.0%} / {hits[1]:.0%}"
    )


def main(open_engine: OpenEngine) -> None:
    """Run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(open_engine, Path(folder)))

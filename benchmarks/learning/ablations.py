"""Every heuristic of TreePO switched off or turned, and what that does to the metric it is for.

Trees of the embedded model on 96 sums, with the settings of the recipe but for the one in question;
the same seed every time. What reads text (boxed answers, repetition) needs another task: the
plugin's tests have it.

    python benchmarks/learning/ablations.py
"""

import asyncio
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from one_process import make_rollouts

from ralo_core import BuildContext, RolloutTree
from ralo_core.cli.config_source import ConfigSource
from ralo_core.config import Config
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.learner.step.tree_diagnostics import tree_diagnostics
from ralo_server.store.tree_facts import tree_facts
from ralo_tasks.tiny_model.model import make_tiny_model

PROBLEMS = 96
LINE = "branch=1"
"""Two paths that never branch leave the rest of the width to fallback, which the recipe with its
two branches does not need on short answers."""
SAMPLING: list[tuple[str, str, list[str], list[str]]] = [
    ("branching", "sharing_ratio", [], [LINE]),
    ("branching", "sampling/fallbacks", [], [LINE]),
    ("segments", "sharing_ratio", [], ["depth=1", "segment_tokens=32"]),
    ("shorter segments", "leaf_depth_mean", [], ["depth=8", "segment_tokens=4"]),
    ("initial divergence 8", "first_branches", [], ["init_branch_min=8", "init_branch_max=8"]),
    ("initial divergence 2 to 8", "first_branches", [], ["init_branch_max=8"]),
    ("fallback", "leaves_per_tree", [LINE], [LINE, "fallback=off"]),
    ("fallback to a boundary", "sharing_ratio", [LINE], [LINE, "fallback=restart"]),
    ("fallback anywhere", "sharing_ratio", [LINE], [LINE, "fallback_segments=1"]),
    ("fallback by log-prob", "sharing_ratio", [LINE], [LINE, "fallback=uncertain"]),
    ("even split", "token_logprob", [], ["split=logprob", "split_temperature=0.1"]),
    (
        "even split", "token_logprob", [],
        ["split=logprob", "split_temperature=0.1", "split_prefer=high"],
    ),
    ("even split", "token_logprob", [], ["split=entropy", "split_temperature=0.01"]),
    ("response limit", "response_tokens", [], ["response_tokens=12"]),
]  # fmt: skip
"""Heuristic, its metric, settings of ``[sampling.treepo]`` with it and without it."""
RAW = "advantage.treepo.normalise=off"
ADVANTAGE: list[tuple[str, str, list[str], list[str]]] = [
    ("sub-groups", "spread_of_equals", [], ["advantage.use=grpo"]),
    ("sub-groups alike", "spread_of_equals", [], ["advantage.treepo.weighting=size"]),
    ("root group", "mean_square", [RAW], [RAW, "advantage.treepo.root=false"]),
    ("equal sub-groups count", "mean_square", [RAW], [RAW, "advantage.treepo.reject_equal=true"]),
    ("whitening", "mean_square", [], [RAW]),
    ("one value per response", "inner_spread", [], ["advantage.use=treepo_segment"]),
]
"""Heuristic, its metric, settings with it and without it."""


def config_of(model: Path, settings: Sequence[str]) -> Config:
    """Return TreePO's recipe for the embedded model with further settings."""
    registry = Registry(PluginHost().load())
    assignments = [f"run.model={model}", *settings]
    return ConfigSource(recipe="treepo", assignments=assignments, tiny=True).gather(registry)


async def grow(config: Config, model: Path) -> list[RolloutTree]:
    """Return a scored tree per problem."""
    rollouts = make_rollouts(config, model)
    provider = config.build("problems", BuildContext(role="orchestrator"))

    async def one(problem: object) -> RolloutTree:
        tree = await rollouts.sample(problem)  # type: ignore[arg-type]
        return await rollouts.score(problem, tree, "")  # type: ignore[arg-type]

    trees = await asyncio.gather(*map(one, islice(iter(provider), PROBLEMS)))
    await rollouts.engine.close()
    return list(trees)


def sampling_metrics(trees: Sequence[RolloutTree]) -> dict[str, float]:
    """Return the diagnostics of a step, and three more."""
    lengths = np.concatenate([tree.response_lengths() for tree in trees])
    logprobs = [tree.leaf_logprobs(leaf) for tree in trees for leaf in range(len(tree.leaves))]
    return {
        **tree_diagnostics([tree_facts(tree) for tree in trees]),
        "leaves_per_tree": len(lengths) / len(trees),
        "response_tokens": float(lengths.mean()),
        "token_logprob": float(np.concatenate(logprobs).mean()),
    }


def advantage_metrics(config: Config, trees: Sequence[RolloutTree]) -> dict[str, float]:
    """Return how an estimator tells leaves apart: `spread_of_equals` among leaves of one tree with
    one reward, `inner_spread` along a response."""
    found = config.build("advantage", BuildContext(role="trainer")).estimate(trees)
    flat = [value if value.ndim == 1 else value.sum(1) for value in found]
    groups = [
        value[tree.rewards == reward]
        for tree, value in zip(trees, flat, strict=True)
        for reward in np.unique(tree.rewards)
    ]
    everything = np.concatenate(flat)
    return {
        "spread_of_equals": float(np.mean([group.std() for group in groups])),
        "zero_share": float((np.abs(everything) < 1e-6).mean()),
        "mean_square": float(np.square(everything).mean()),
        "inner_spread": float(
            np.mean([value.std(1).mean() if value.ndim == 2 else 0.0 for value in found])
        ),
    }


def show(heuristic: str, metric: str, on: float, off: float, settings: Sequence[str]) -> None:
    """Print one line."""
    print(f"{heuristic:28} {metric:20} {on:9.3f} {off:9.3f}   {', '.join(settings)}")


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "tiny"
        make_tiny_model(model, seed=0)

        def sampled(options: Sequence[str]) -> dict[str, float]:
            config = config_of(model, [f"sampling.treepo.{option}" for option in options])
            return sampling_metrics(asyncio.run(grow(config, model)))

        print(f"{'heuristic':28} {'metric':20} {'with':>9} {'without':>9}")
        for heuristic, metric, on, off in SAMPLING:
            show(heuristic, metric, sampled(on)[metric], sampled(off)[metric], off)
        trees = asyncio.run(grow(config_of(model, []), model))
        for heuristic, metric, on, off in ADVANTAGE:
            values = [
                advantage_metrics(config_of(model, some), trees)[metric] for some in (on, off)
            ]
            show(heuristic, metric, values[0], values[1], off)


if __name__ == "__main__":
    main()

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
from ralo_core.cli.options import gather
from ralo_core.config import Config
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.learner.tree_diagnostics import tree_diagnostics
from ralo_server.store import tree_facts
from ralo_worker.model.tiny import make_tiny_model

PROBLEMS = 96
SAMPLING = [
    ("branching", "sharing_ratio", ["branch=1"]),
    ("branching", "sampling/fallbacks", ["branch=1"]),
    ("more branching", "sampling/rounds", ["branch=4"]),
    ("segments", "sharing_ratio", ["depth=1", "segment_tokens=32"]),
    ("shorter segments", "leaf_depth_mean", ["depth=8", "segment_tokens=4"]),
    ("initial divergence 8", "first_branches", ["init_branch_min=8", "init_branch_max=8"]),
    ("initial divergence 2 to 8", "first_branches", ["init_branch_max=8"]),
    ("fallback", "leaves_per_tree", ["fallback=off"]),
    ("fallback only from answers", "sampling/fallbacks", ["fallback_from=any"]),
    ("fallback to the prompt", "sharing_ratio", ["fallback=restart"]),
    ("width to unlikely paths", "token_logprob", ["split=logprob", "split_temperature=0.1"]),
    (
        "width to likely paths",
        "token_logprob",
        ["split=logprob", "split_temperature=0.1", "split_prefer=high"],
    ),
    ("width to uncertain paths", "token_logprob", ["split=entropy", "split_temperature=0.1"]),
    ("response limit", "response_tokens", ["response_tokens=12"]),
]
"""Heuristic, its metric, settings of ``[sampling.treepo]``."""
ADVANTAGE = [
    ("sub-groups (GRPO instead)", "spread_of_equals", ["advantage.use=grpo"]),
    ("sub-groups by size", "spread_of_equals", ["advantage.treepo.weighting=size"]),
    ("root group", "zero_share", ["advantage.treepo.root=false"]),
    ("keep equal sub-groups", "mean_square", [
        "advantage.treepo.reject_equal=true", "advantage.treepo.normalise=off"
    ]),
    ("whitening", "mean_square", ["advantage.treepo.normalise=off"]),
    ("one value per response", "inner_spread", ["advantage.use=treepo_segment"]),
]  # fmt: skip
"""Heuristic, its metric, settings."""


def config_of(model: Path, settings: Sequence[str]) -> Config:
    """Return TreePO's recipe for the embedded model with further settings."""
    registry = Registry(PluginHost().load())
    return gather(registry, "treepo", None, [f"run.model={model}", *settings], tiny=True)


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


def show(heuristic: str, metric: str, base: float, turned: float, settings: Sequence[str]) -> None:
    """Print one line."""
    print(f"{heuristic:30} {metric:20} {base:9.3f} {turned:9.3f}   {', '.join(settings)}")


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "tiny"
        make_tiny_model(model, seed=0)
        plain = config_of(model, [])
        trees = asyncio.run(grow(plain, model))
        base = {**sampling_metrics(trees), **advantage_metrics(plain, trees)}
        print(f"{'heuristic':30} {'metric':20} {'recipe':>9} {'turned':>9}")
        for heuristic, metric, options in SAMPLING:
            config = config_of(model, [f"sampling.treepo.{option}" for option in options])
            turned = sampling_metrics(asyncio.run(grow(config, model)))
            show(heuristic, metric, base[metric], turned[metric], options)
        for heuristic, metric, settings in ADVANTAGE:
            turned = advantage_metrics(config_of(model, settings), trees)
            show(heuristic, metric, base[metric], turned[metric], settings)


if __name__ == "__main__":
    main()

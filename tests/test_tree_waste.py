"""Nothing that TreePO decodes is thrown away: every segment leads to a leaf that is returned, and
leaves come from every first segment."""

import asyncio
import json
from itertools import islice
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from ralo_core import PROMPT, BuildContext, Problem, SamplingContext
from ralo_core.config import resolve, set_layer
from ralo_core.config.layers import Layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_core.testing import FakeEngine
from ralo_server.learner.step.tree_diagnostics import tree_diagnostics
from ralo_server.store.tree_facts import tree_facts
from ralo_tasks.tiny_model.model import make_tiny_model
from ralo_treepo.sampler import TreeSampler
from ralo_treepo.settings import TreeSamplerSettings
from ralo_worker.sampler.runtime import build_pipeline

torch.set_num_threads(1)

REGISTRY = Registry(PluginHost(strict=True).load())


def led_to_leaves(tree):
    """Return the segments that a leaf's path goes through, and the first ones of the tree."""
    found = set()
    for leaf in tree.leaves:
        node = int(leaf)
        while node != PROMPT:
            found.add(node)
            node = int(tree.parents[node])
    firsts = {node for node, parent in enumerate(tree.parents) if parent == PROMPT}
    return found, firsts


def check_nothing_is_wasted(tree):
    found, firsts = led_to_leaves(tree)
    # At least 90 % is what is asked for; the algorithm allows all.
    assert found == set(range(len(tree.parents))), "a segment was decoded in vain"
    assert firsts <= found, "a first segment has no leaf"
    facts = tree_facts(tree)
    assert facts["used_tokens"] == facts["tokens"]
    assert facts["first_branches"] == len(firsts)


@pytest.fixture(scope="module")
def fake_model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fake")
    config = {"vocab_size": 12, "eos_token_id": 0, "max_position_embeddings": 256}
    (directory / "config.json").write_text(json.dumps(config))
    save_file({"weights": np.ones(3, np.float32)}, directory / "model.safetensors")
    return directory


@given(
    options=st.fixed_dictionaries(
        {
            "width": st.integers(1, 12),
            "depth": st.integers(1, 5),
            "segment_tokens": st.integers(1, 6),
            "branch": st.integers(1, 4),
            "init_branch_min": st.integers(1, 3),
            "init_branch_max": st.integers(3, 9),
            "split": st.sampled_from(["even", "logprob", "entropy"]),
            "fallback": st.sampled_from(["random", "uncertain", "certain", "restart", "off"]),
            "fallback_from": st.sampled_from(["answered", "any", "longest"]),
        }
    ),
    seed=st.integers(0, 10**6),
)
def test_on_the_fake_engine_with_any_settings(fake_model, options, seed):
    context = BuildContext(role="sampler", seed=seed, model_dir=fake_model)
    sampling = SamplingContext(
        prompt=(1 + seed % 11, 3), eos_token_ids=frozenset([0]), temperature=1.0, top_p=1.0,
        top_k=0, max_tokens=100, random=Random(seed), decode=str,
    )  # fmt: skip
    sampler = TreeSampler(TreeSamplerSettings(**options), context)
    engine = FakeEngine(None, context)
    tree = asyncio.run(sampler.sample(Problem(id="p", prompt="x", answer="y"), engine, sampling))
    check_nothing_is_wasted(tree)
    assert engine.stats().decoded_tokens == len(tree.tokens), "what was decoded is in the tree"


@pytest.fixture(scope="module")
def briefly_taught(tmp_path_factory):
    """The embedded model after so short a warm-up that it ends its answers, right or wrong."""
    directory = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(directory, seed=0, warmup_steps=100)
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("split", ["even", "entropy"])
def test_on_the_embedded_model_with_the_demos_recipe(split, briefly_taught):
    model = briefly_taught
    recipe = REGISTRY.recipe("treepo")
    layers = [Layer("recipe", recipe.defaults), Layer("tiny", recipe.tiny)]
    config = resolve([*layers, set_layer([f"sampling.treepo.split={split}"])], REGISTRY)
    context = BuildContext(role="sampler", model_dir=model)
    engine = config.build("engine", context)
    pipeline = build_pipeline(config, context, engine)

    async def sample_all(problems):
        trees = await asyncio.gather(*map(pipeline.sample, problems))
        await engine.close()
        return trees

    problems = islice(config.build("problems", BuildContext(role="orchestrator")), 40)
    trees = asyncio.run(sample_all(problems))
    for tree in trees:
        check_nothing_is_wasted(tree)
        assert len(tree.leaves) == 8
    metrics = tree_diagnostics([tree_facts(tree) for tree in trees])
    assert metrics["used_token_share"] == 1
    assert metrics["first_branches"] >= 2
    assert metrics["stop/eos"] > 0.5, "answers end by themselves"
    assert metrics["sharing_ratio"] > 0.1, "these are trees, not bundles of single paths"

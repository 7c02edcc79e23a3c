"""New weights in real vLLM, while requests run and after: held to transformers, token by token."""

import asyncio
import copy
import hashlib
import shutil
import tempfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ralo_core import (
    DeltaLink,
    GenerationRequest,
    RaloError,
    WeightDelta,
    WeightFile,
    WeightVersion,
)
from ralo_core.deltas import DeltaWriter
from ralo_worker.weights.deltas import Plan, apply

CLOSE = 1e-3
"""fp32 against fp32; the wrong weights or stale keys are off by far more."""
BLOCK = 32
"""Tokens that the prefix cache shares or not."""
PROMPTS = [tuple(2 + (first * n) % 61 for n in range(1, 97)) for first in range(2, 8)]


@pytest.fixture(
    scope="module",
    params=[
        ("tied", "finish"),
        ("tied", "continue"),
        ("tied", "keep_going"),
        ("untied", "continue"),
    ],
    ids="-".join,
)
def bench(request, models, opened, settings_of):
    """An engine on model 0 of eight slots, its policy, and two models to change between."""
    tied, policy = request.param
    pair = [models(seed, tied == "tied") for seed in (0, 1)]
    engine = opened(pair[0][0], settings_of(policy, max_num_seqs=8))
    return engine, policy, pair


def load(engine, directory):
    return engine.load_weights(engine.version + 1, directory)


def ask_greedily(engine, prompts=PROMPTS, most=12):
    wanted = [GenerationRequest(prompt=p, max_tokens=most, temperature=0.0) for p in prompts]
    return engine.generate(wanted)


def test_greedy_answers_are_those_of_transformers_on_the_same_weights(
    bench, greedy, teacher_forced
):
    """Every prompt is in the prefix cache of the weights before: were it used, this would fail."""
    engine, _, pair = bench

    async def scenario():
        await ask_greedily(engine)
        for directory, model in (pair[1], pair[0], pair[1]):
            await load(engine, directory)
            before = engine.stats().cached_tokens
            answers = await ask_greedily(engine)
            assert engine.stats().cached_tokens == before, "nothing of the old weights is reused"
            assert {done.version for done in answers} == {engine.version}
            for prompt, done in zip(PROMPTS, answers, strict=True):
                assert done.tokens.tolist() == greedy(model, prompt, 12)[: len(done.tokens)]
                expected = teacher_forced(model, prompt, done.tokens)
                assert np.abs(done.logprobs - expected).max() < CLOSE
            await ask_greedily(engine)
            assert engine.stats().cached_tokens > before, "under the same weights it is reused"

    asyncio.run(scenario())


def test_running_requests_follow_the_stated_policy(bench, teacher_forced):
    engine, policy, pair = bench
    wanted = [
        GenerationRequest(prompt=(*PROMPTS[n % 6][:40], 2 + n), max_tokens=120) for n in range(24)
    ]

    async def scenario():
        await load(engine, pair[0][0])
        old = engine.version
        start = engine.stats().decoded_tokens
        call = asyncio.ensure_future(engine.generate(wanted))
        while engine.stats().decoded_tokens < start + 8 * 20:
            await asyncio.sleep(0.001)
        pause = await load(engine, pair[1][0])
        assert 0 < pause < 30
        return old, await call

    old, answers = asyncio.run(scenario())
    models = [model for _, model in pair]
    changed = 0
    for request, done in zip(wanted, answers, strict=True):
        by_first = teacher_forced(models[0], request.prompt, done.tokens)
        by_old = int(np.argmin([*(np.abs(done.logprobs - by_first) < CLOSE), False]))
        changed += 0 < by_old < len(done.tokens)
        assert done.version == (old if by_old or policy == "keep_going" else old + 1)
        rest = done.logprobs[by_old:]
        if not len(rest):
            continue
        splits = [0]  # how many of the first tokens may have keys and values of the old weights
        if policy == "keep_going":
            splits = [len(request.prompt) + by_old - 1] if by_old else [0, BLOCK]
        expected = [over_old_keys(models, request.prompt, done.tokens, n) for n in splits]
        assert any(np.abs(rest - e[len(e) - len(rest) :]).max() < CLOSE for e in expected)
    assert (changed == 0) == (policy == "finish"), f"{changed} requests saw the change"
    both = {old} if policy == "keep_going" else {old, old + 1}
    assert {done.version for done in answers} == both


@torch.no_grad()
def over_old_keys(models, prompt, tokens, split):
    """Return log-probs under the new model where keys and values of the first `split` tokens are
    those of the old one: of every token after them that is known to follow another."""
    ids = torch.tensor([[*prompt, *tokens.tolist()]])
    past = models[0](ids[:, :split], use_cache=True).past_key_values if split else None
    logits = models[1](ids[:, split:-1], past_key_values=past).logits[0]
    return logits.log_softmax(-1).gather(1, ids[0, split + 1 :, None])[:, 0].numpy()


def test_a_cancelled_load_is_not_half_done(bench, greedy):
    engine, _, pair = bench
    directory, model = pair[0]

    async def scenario():
        version = engine.version + 1
        call = asyncio.ensure_future(engine.load_weights(version, directory))
        await asyncio.sleep(0)
        call.cancel()
        while engine.version != version:
            await asyncio.sleep(0.01)
        return await ask_greedily(engine)

    for prompt, done in zip(PROMPTS, asyncio.run(scenario()), strict=True):
        assert done.tokens.tolist() == greedy(model, prompt, 12)[: len(done.tokens)]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("empty", "no .*safetensors"),
        ("other shape", "wrong shape: model.norm"),
        ("other names", "not in the model: surplus"),
        ("cut short", "cannot be read"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(bench, tmp_path, fault, message):
    engine, _, pair = bench
    directory = tmp_path / "version"
    shutil.copytree(pair[1][0], directory)
    file = directory / "model.safetensors"
    tensors = load_file(file)
    if fault == "empty":
        file.unlink()
    elif fault == "other shape":
        save_file({**tensors, "model.norm.weight": torch.ones(3)}, file)
    elif fault == "other names":
        save_file({**tensors, "surplus": torch.ones(3)}, file)
    else:
        file.write_bytes(file.read_bytes()[:-100])

    async def scenario():
        before, version = await ask_greedily(engine), engine.version
        messages = (
            "no .*safetensors|wrong shape: model.norm|not in the model: surplus|cannot be read"
        )
        with pytest.raises(RaloError, match=messages):
            await load(engine, directory)
        assert engine.version == version
        return before, await ask_greedily(engine)

    before, after = asyncio.run(scenario())
    assert [d.tokens.tolist() for d in before] == [d.tokens.tolist() for d in after]


def test_an_activation_that_fails_closes_the_engine(models, settings_of, opened, tmp_path):
    """A file that is lost after it was checked leaves a model that is half new."""
    directory, _ = models(0, tied=True)
    broken = tmp_path / "broken"
    shutil.copytree(directory, broken)
    engine = opened(directory, settings_of())

    async def scenario():
        call = asyncio.ensure_future(
            engine.generate([GenerationRequest(prompt=(5,), max_tokens=250)] * 200)
        )
        await asyncio.sleep(0)
        engine._check_fit = lambda directory: (directory / "model.safetensors").unlink()
        with pytest.raises(RaloError, match="not activated, the engine is closed"):
            await engine.load_weights(1, broken)
        with pytest.raises(RaloError, match="not activated"):
            await call
        with pytest.raises(RaloError, match="not activated"):
            await ask_greedily(engine)

    asyncio.run(scenario())


def test_weights_that_came_as_a_delta_are_taken_while_requests_run(bench, greedy, tmp_path):
    engine, _, pair = bench
    old, model = pair[0][0], copy.deepcopy(pair[0][1])
    torch.manual_seed(7)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.3 * torch.randn_like(weights) * (torch.rand_like(weights) < 0.05)
    model.save_pretrained(tmp_path / "whole")
    made = patched_version(old, tmp_path / "whole", tmp_path)

    async def scenario():
        await load(engine, old)
        await ask_greedily(engine)
        call = asyncio.ensure_future(ask_greedily(engine, PROMPTS * 4, 100))
        await asyncio.sleep(0.05)
        await load(engine, made)
        await call
        return await ask_greedily(engine)

    for prompt, done in zip(PROMPTS, asyncio.run(scenario()), strict=True):
        assert done.tokens.tolist() == greedy(model, prompt, 12)[: len(done.tokens)]


def patched_version(old, new, root):
    """Return a folder with the files of `new`, made by a worker of those in `old` and a delta."""
    before, after = (load_file(folder / "model.safetensors") for folder in (old, new))
    with tempfile.TemporaryFile() as spill:
        writer = DeltaWriter(spill)
        for name in sorted(after):
            bits = (values[name].flatten().view(torch.int32) for values in (before, after))
            writer.add(name, *(value.numpy().view(np.uint32) for value in bits))
        delta = writer.write(root / "x.delta", 0, "old", "new")
    files = [
        WeightFile(name=path.name, size=path.stat().st_size, sha256=sha256_of(path))
        for path in sorted(new.iterdir())
    ]
    version = WeightVersion(number=1, parent=0, sha256="new", files=tuple(files), created=0.0)
    link = DeltaLink(version=1, delta=WeightDelta(base=0, base_sha256="old", file=delta))
    fetched = []

    def fetch(file, path):
        fetched.append(file.name)
        shutil.copy(root / file.name if file == delta else new / file.name, path)
        return file.size

    folder = root / "made"
    folder.mkdir()
    apply(version, folder, Plan(old, (link,)), fetch)
    assert "model.safetensors" not in fetched
    return folder


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()

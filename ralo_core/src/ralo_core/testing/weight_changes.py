"""What new weights do to an engine: recorded, used by what comes later, never half."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ralo_core.data import Completion, GenerationRequest
from ralo_core.errors import RaloError
from ralo_core.protocols import InferenceEngine

_LONG = 100
_TOLERANCE = 0.05


async def check_weight_changes(engine: InferenceEngine, new_weights: Path) -> None:
    """Load `new_weights` while requests run, and compare completions before and after."""
    old = await _completions(engine)
    await _check_refused_weights(engine)
    assert _same(old, await _completions(engine)), "weights that were refused must change nothing"
    await _check_while_running(engine, new_weights)
    new = await _fresh_completions(engine)
    assert not _same(old, new), "new weights must be used by what is asked after them"
    await engine.load_weights(engine.version + 1, new_weights)
    again = await _fresh_completions(engine)
    assert _same(new, again), "the same weights must give the same completions"


async def _check_while_running(engine: InferenceEngine, new_weights: Path) -> None:
    before, version = engine.version, engine.version + 1
    most = (engine.max_length - 2) // 2
    running = [GenerationRequest(prompt=(1, 2), max_tokens=most)] * min(engine.capacity, 16)
    call = asyncio.ensure_future(engine.generate(running))
    while not call.done() and engine.stats().running == 0:
        await asyncio.sleep(0.01)
    seconds = await engine.load_weights(version, new_weights)
    assert isinstance(seconds, float), "load_weights() must return a number of seconds"
    assert seconds >= 0, "load_weights() must return the seconds in which nothing was decoded"
    assert engine.version == version, "load_weights() must set the engine's version"
    for done in await call:
        assert done.version in (before, version), "a completion's version must be old or new"
        assert len(done.tokens) == len(done.logprobs), "there must be a log-prob per token"


async def _check_refused_weights(engine: InferenceEngine) -> None:
    before = engine.version
    with tempfile.TemporaryDirectory() as empty:
        try:
            await engine.load_weights(before + 1, Path(empty))
        except RaloError:
            assert engine.version == before, "weights that were refused must not set the version"
            return
    msg = "a directory without weights must be refused with a RaloError"
    raise AssertionError(msg)


async def _fresh_completions(engine: InferenceEngine) -> list[Completion]:
    """Return `_completions`, the first ones under new weights: nothing of them may be cached."""
    before = engine.stats().cached_tokens
    completions = await _completions(engine)
    cached = engine.stats().cached_tokens - before
    assert cached == 0, f"{cached} tokens came from the prefix cache of the old weights"
    assert {done.version for done in completions} == {engine.version}, (
        "what was asked after load_weights() must carry the new version"
    )
    return completions


async def _completions(engine: InferenceEngine) -> list[Completion]:
    length = min(_LONG, engine.max_length // 2)
    prompts = [tuple(2 + (first + n) % 5 for n in range(length)) for first in range(3)]
    return await engine.generate(
        [GenerationRequest(prompt=prompt, max_tokens=8, temperature=0.0) for prompt in prompts]
    )


def _same(ones: Sequence[Completion], others: Sequence[Completion]) -> bool:
    return all(
        np.array_equal(one.tokens, other.tokens)
        and np.allclose(one.logprobs, other.logprobs, atol=_TOLERANCE)
        for one, other in zip(ones, others, strict=True)
    )

"""The contract of inference engines, on whatever model the engine was opened with.

No check needs to know the model: each compares completions of the engine with one another.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ralo_core.data import Completion, GenerationRequest
from ralo_core.errors import RaloError
from ralo_core.protocols import InferenceEngine
from ralo_core.testing.distributions import check_distributions
from ralo_core.testing.entropies import check_entropies
from ralo_core.testing.weight_changes import check_weight_changes

_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.01


def check_inference_engine(engine: InferenceEngine, new_weights: Path | None = None) -> None:
    """Check `engine` with several callers at once, then close it.

    `new_weights` is a directory with other weights of the same model; without it nothing is
    checked about `load_weights`.
    """
    asyncio.run(_check(engine, new_weights))


async def _check(engine: InferenceEngine, new_weights: Path | None) -> None:
    _check_properties(engine)
    await _check_concurrent_callers(engine)
    await check_distributions(engine)
    await check_entropies(engine)
    await _check_refusals(engine)
    await _check_cancellation(engine)
    if new_weights is not None:
        await check_weight_changes(engine, new_weights)
    await engine.close()
    await _check_refused(engine, GenerationRequest(prompt=(1,), max_tokens=1), "when it is closed")


def _check_properties(engine: InferenceEngine) -> None:
    assert engine.capacity >= 1, "capacity must be at least 1"
    assert engine.max_length > 1, "max_length must hold a prompt and a completion"
    assert engine.eos_token_ids, "there must be an end-of-sequence id"


async def _check_concurrent_callers(engine: InferenceEngine) -> None:
    greedy = [GenerationRequest(prompt=(1, 2, 3), max_tokens=n, temperature=0.0) for n in (1, 4, 9)]
    drawn = [GenerationRequest(prompt=(3, 2), max_tokens=6, temperature=0.8)] * 5
    before = engine.stats()
    completions = await asyncio.gather(*(engine.generate(some) for some in (greedy, drawn, greedy)))
    for asked, got in zip((greedy, drawn, greedy), completions, strict=True):
        assert len(got) == len(asked), "generate() must return one completion per request"
        for request, done in zip(asked, got, strict=True):
            check_completion(request, done, engine)
            assert done.version == engine.version, "a completion must carry the weight version"
    first, _, third = completions
    for one, other in zip(first, third, strict=True):
        same = np.array_equal(one.tokens, other.tokens)
        assert same, "temperature 0 must give the same tokens every time"
    after = engine.stats()
    written = sum(len(done.tokens) for got in completions for done in got)
    assert after.decoded_tokens - before.decoded_tokens == written, "stats() must count tokens"
    given = sum(len(request.prompt) for asked in (greedy, drawn, greedy) for request in asked)
    assert after.prompt_tokens - before.prompt_tokens == given, "stats() must count prompt tokens"


def check_completion(request: GenerationRequest, done: Completion, engine: InferenceEngine) -> None:
    """Check what can be said of one completion by itself."""
    assert 1 <= len(done.tokens) <= request.max_tokens, (
        f"a completion must have 1 to {request.max_tokens} tokens, got {len(done.tokens)}"
    )
    assert done.tokens.dtype == np.int32, "tokens must be int32"
    assert done.logprobs.dtype == np.float32, "logprobs must be float32"
    assert len(done.logprobs) == len(done.tokens), "there must be a log-prob per token"
    assert (done.logprobs <= 1e-6).all(), "a log-prob must not be above 0"
    ended = int(done.tokens[-1]) in engine.eos_token_ids
    assert done.finish_reason == ("eos" if ended else "length"), (
        "finish_reason must be 'eos' where the last token ends a sequence, else 'length'"
    )
    inside = {int(token) for token in done.tokens[:-1]}
    assert not inside & engine.eos_token_ids, "nothing may follow an end of sequence"
    full = len(done.tokens) == request.max_tokens
    assert full or ended, "only an end of sequence may end a row early"


async def _check_refusals(engine: InferenceEngine) -> None:
    for request, what in (
        (GenerationRequest(prompt=(), max_tokens=1), "with an empty prompt"),
        (GenerationRequest(prompt=(1,), max_tokens=0), "for no tokens"),
        (GenerationRequest(prompt=(1,), max_tokens=engine.max_length), "longer than the model"),
        (GenerationRequest(prompt=(2**31 - 1,), max_tokens=1), "with an unknown token"),
        (GenerationRequest(prompt=(1,), max_tokens=1, temperature=-1.0), "below temperature 0"),
    ):
        await _check_refused(engine, request, what)


async def _check_refused(engine: InferenceEngine, request: GenerationRequest, what: str) -> None:
    try:
        await engine.generate([request])
    except RaloError:
        return
    msg = f"a request {what} must be refused with a RaloError"
    raise AssertionError(msg)


async def _check_cancellation(engine: InferenceEngine) -> None:
    longest = GenerationRequest(prompt=(1, 2), max_tokens=engine.max_length - 2)
    call = asyncio.ensure_future(engine.generate([longest] * (2 * engine.capacity)))
    await until(lambda: engine.stats().running > 0 or call.done(), "stats() must count what runs")
    call.cancel()
    await engine.generate([GenerationRequest(prompt=(1, 2), max_tokens=1)])
    await until(
        lambda: engine.stats().running + engine.stats().waiting == 0,
        "a cancelled call must free its rows",
    )


async def until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for `condition`; raises `AssertionError` with `otherwise` if it never comes."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(_POLL_SECONDS)

"""The contract of inference engines, on whatever model the engine was opened with."""

import asyncio

import numpy as np

from ralo_core.data import Completion, GenerationRequest
from ralo_core.protocols import InferenceEngine


def check_inference_engine(engine: InferenceEngine) -> None:
    """Check `engine` with several callers at once, then close it."""
    asyncio.run(_check(engine))


async def _check(engine: InferenceEngine) -> None:
    greedy = [GenerationRequest(prompt=(1, 2, 3), max_tokens=n, temperature=0.0) for n in (1, 4, 9)]
    drawn = [GenerationRequest(prompt=(3, 2), max_tokens=6, temperature=0.8)] * 5
    answers = await asyncio.gather(*(engine.generate(some) for some in (greedy, drawn, greedy)))
    for asked, got in zip((greedy, drawn, greedy), answers, strict=True):
        assert len(got) == len(asked), "generate() must return one completion per request"
        for request, done in zip(asked, got, strict=True):
            _check_completion(request, done, engine.version)
    first, _, third = answers
    for one, other in zip(first, third, strict=True):
        same = np.array_equal(one.tokens, other.tokens)
        assert same, "temperature 0 must give the same tokens every time"
    await engine.close()


def _check_completion(request: GenerationRequest, done: Completion, version: int) -> None:
    assert 1 <= len(done.tokens) <= request.max_tokens, (
        f"a completion must have 1 to {request.max_tokens} tokens, got {len(done.tokens)}"
    )
    assert done.tokens.dtype == np.int32, "tokens must be int32"
    assert done.logprobs.dtype == np.float32, "logprobs must be float32"
    assert len(done.logprobs) == len(done.tokens), "there must be a log-prob per token"
    assert (done.logprobs <= 1e-6).all(), "a log-prob must not be above 0"
    assert done.finish_reason in ("eos", "length"), "finish_reason must be 'eos' or 'length'"
    full = len(done.tokens) == request.max_tokens
    assert full or done.finish_reason == "eos", "only an end of sequence may end a row early"
    assert done.version == version, "a completion must carry the engine's weight version"

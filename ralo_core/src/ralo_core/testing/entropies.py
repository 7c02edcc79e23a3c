"""Whether an engine's entropies are those of the distributions that it draws from.

Three tokens are few enough to be drawn all of them, and then their log-probs say what their entropy
is. An engine may estimate, say from its 20 most
probable tokens, so nothing is asked of wider distributions but that they agree with one another.
"""

import math
from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from ralo_core.data import Completion, GenerationRequest
from ralo_core.errors import RaloError
from ralo_core.protocols import InferenceEngine

_DRAWS = 400
_PROMPT = (3, 2)
_TOLERANCE = 0.1
"""Nats: what a token that was never drawn may hold, and the rounding of bfloat16."""


async def check_entropies(engine: InferenceEngine) -> None:
    """Ask for entropies, or hear in an error that names them that there are none."""
    asked = GenerationRequest(prompt=_PROMPT, max_tokens=6, entropies=True)
    refusal = await _refusal(engine, asked)
    if refusal:
        assert "entrop" in refusal, f"an engine without entropies must say so, not only {refusal!r}"
        return
    await _check_who_gets_them(engine, asked)
    await _check_positions(engine, asked)
    await _check_greedy(engine)
    for temperature in (1.0, 0.5):
        await _check_three_tokens(engine, temperature)


async def _refusal(engine: InferenceEngine, asked: GenerationRequest) -> str:
    try:
        await engine.generate([asked])
    except RaloError as error:
        return str(error) or "nothing"
    return ""


async def _check_who_gets_them(engine: InferenceEngine, asked: GenerationRequest) -> None:
    plain = attrs.evolve(asked, entropies=False)
    completions = await engine.generate([plain, asked, plain, asked])
    for request, done in zip((plain, asked, plain, asked), completions, strict=True):
        if not request.entropies:
            assert done.entropies is None, "entropies must be None where they were not asked for"
            continue
        values = _entropies(done)
        assert values.dtype == np.float32, "entropies must be float32"
        assert len(values) == len(done.tokens), "there must be an entropy per token"
        sound = np.isfinite(values) & (values >= 0)
        assert sound.all(), "an entropy must be a finite number of at least 0"


async def _check_positions(engine: InferenceEngine, asked: GenerationRequest) -> None:
    """Each entropy must be that of its own position, as a request from there gives it."""
    (done,) = await engine.generate([asked])
    tokens = done.tokens.tolist()
    prompts = [(*asked.prompt, *tokens[:place]) for place in range(len(tokens))]
    single = [attrs.evolve(asked, prompt=prompt, max_tokens=1) for prompt in prompts]
    expected = [_entropies(one)[0] for one in await engine.generate(single)]
    assert np.allclose(_entropies(done), expected, atol=_TOLERANCE), (
        "each token's entropy must be that of the distribution at its own place"
    )


async def _check_greedy(engine: InferenceEngine) -> None:
    requests = [
        GenerationRequest(prompt=_PROMPT, max_tokens=1, temperature=temperature, entropies=True)
        for temperature in (0.0, 1.0)
    ]
    greedy, drawn = (_entropies(done)[0] for done in await engine.generate(requests))
    assert abs(greedy - drawn) < _TOLERANCE, (
        "at temperature 0 the entropy must be that of the untempered distribution"
    )


async def _check_three_tokens(engine: InferenceEngine, temperature: float) -> None:
    request = GenerationRequest(
        prompt=_PROMPT, max_tokens=1, temperature=temperature, top_k=3, entropies=True
    )
    completions = await engine.generate([request] * _DRAWS)
    expected = _entropy_of_drawn(completions)
    reported = [float(_entropies(done)[0]) for done in completions]
    assert max(abs(value - expected) for value in reported) < _TOLERANCE, (
        f"an entropy must be that of the tempered and filtered distribution drawn from, "
        f"{expected:.2f} where the engine says {reported[0]:.2f}"
    )


def _entropy_of_drawn(completions: Sequence[Completion]) -> float:
    logprobs = {int(done.tokens[0]): float(done.logprobs[0]) for done in completions}
    return -sum(math.exp(value) * value for value in logprobs.values())


def _entropies(done: Completion) -> npt.NDArray[np.float32]:
    assert done.entropies is not None, "a completion must have the entropies that were asked for"
    return done.entropies

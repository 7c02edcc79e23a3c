"""What a sampling algorithm asks of an engine, what it gets back, and what rewards see.

Sampling algorithms send `GenerationRequest`s and get `Completion`s; a reward gets each finished
response as text, in a `Response`. Token ids in, token ids out: no text crosses
between algorithm and engine, so nothing is ever tokenised twice.
"""

import attrs
import numpy as np
import numpy.typing as npt


@attrs.frozen(kw_only=True)
class GenerationRequest:
    """Continue `prompt` (token ids) by at most `max_tokens` tokens.

    `temperature` 0 means greedy, with log-probs of the untempered distribution.
    `top_p` 1 and `top_k` 0 switch those filters off. `entropies` asks for the entropy at every
    token, too.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    entropies: bool = False


@attrs.frozen(kw_only=True, eq=False)
class Completion:
    """Tokens int32[n] with their behaviour log-probs float32[n] under the filtered,
    tempered and renormalised distribution; ``finish_reason`` is ``eos`` (the last token is
    an end-of-sequence id) or ``length``. `version` is the weight version that wrote it.

    `entropies` float32[n] are those of the distributions that the tokens were drawn from (nats),
    exact or an estimate as the engine says; None where the request did not ask for them."""

    tokens: npt.NDArray[np.int32]
    logprobs: npt.NDArray[np.float32]
    finish_reason: str
    version: int
    entropies: npt.NDArray[np.float32] | None = None


@attrs.frozen(kw_only=True)
class EngineStats:
    """How busy an engine is: requests `running` and `waiting` just now, and since its start the
    `prompt_tokens` it was given, those of them whose keys and values were `cached_tokens`, and
    the `decoded_tokens`."""

    running: int
    waiting: int
    prompt_tokens: int
    cached_tokens: int
    decoded_tokens: int


@attrs.frozen(kw_only=True)
class Response:
    """A finished response as rewards see it; `text` has no special tokens."""

    text: str
    finish_reason: str
    tokens: int

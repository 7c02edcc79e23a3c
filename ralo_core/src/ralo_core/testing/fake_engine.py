"""The `fake` inference engine: a deterministic toy language model in numpy.

The next token's logits are a pure function of the weight files and the tokens so far, so every
completion can be foretold, and the whole contract of engines holds. It needs neither torch nor a
GPU: protocol tests, and a trial of a deployment, run real samplers on it.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ralo_core.components import BuildContext
from ralo_core.data import Completion, EngineStats, GenerationRequest
from ralo_core.errors import RaloError
from ralo_core.request_checks import check_requests

_SPREAD = 2.0
"""Standard deviation of the logits: some tokens are likely, none is certain."""
_CAPACITY = 64


class FakeEngine:
    """Opened on a Hugging Face directory, of which it reads ``config.json`` and hashes the weights.

    Each token is a turn of the event loop, and new weights are used from the next token on; a
    completion's version is the one at its start, the oldest.
    """

    def __init__(self, settings: None, context: BuildContext) -> None:
        if context.model_dir is None:
            msg = "the fake engine needs a model directory; none was given"
            raise RaloError(msg)
        config = json.loads((context.model_dir / "config.json").read_text())
        eos = config["eos_token_id"]
        self.eos_token_ids = frozenset([eos] if isinstance(eos, int) else eos)
        self.max_length = int(config["max_position_embeddings"])
        self.capacity = _CAPACITY
        self.version = _version(context.model_dir)
        self._vocabulary = int(config["vocab_size"])
        self._digest = _digest(context.model_dir)
        self._random = np.random.default_rng(context.seed)
        self._slots = asyncio.Semaphore(_CAPACITY)
        self._running = self._waiting = self._prompt = self._decoded = 0
        self._closed = False

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        """Return one completion per request, in order; raises `RaloError` for an odd request."""
        if self._closed:
            msg = "the inference engine is closed"
            raise RaloError(msg)
        check_requests(requests, max_length=self.max_length, vocabulary=self._vocabulary)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._complete(request)) for request in requests]
        return [task.result() for task in tasks]

    async def load_weights(self, version: int, directory: Path) -> float:
        """Take the weights of `directory`; raises `RaloError` where there are none."""
        started = time.monotonic()
        self._digest = _digest(Path(directory))
        self.version = version
        return time.monotonic() - started

    def stats(self) -> EngineStats:
        """Return how busy the engine is; nothing is ever cached."""
        return EngineStats(
            running=self._running,
            waiting=self._waiting,
            prompt_tokens=self._prompt,
            cached_tokens=0,
            decoded_tokens=self._decoded,
        )

    async def close(self) -> None:
        """Refuse every further request."""
        self._closed = True

    async def _complete(self, request: GenerationRequest) -> Completion:
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            return await self._decode(request)
        finally:
            self._running -= 1
            self._slots.release()

    async def _decode(self, request: GenerationRequest) -> Completion:
        version = self.version
        self._prompt += len(request.prompt)
        tokens: list[int] = []
        logprobs: list[float] = []
        entropies: list[float] = []
        while len(tokens) < request.max_tokens and not self.eos_token_ids & set(tokens[-1:]):
            await asyncio.sleep(0)
            distribution = self._distribution((*request.prompt, *tokens), request)
            token = self._draw(distribution, request)
            tokens.append(token)
            logprobs.append(float(distribution[token]))
            entropies.append(entropy(distribution))
            self._decoded += 1
        return Completion(
            tokens=np.asarray(tokens, np.int32),
            logprobs=np.asarray(logprobs, np.float32),
            finish_reason="eos" if tokens[-1] in self.eos_token_ids else "length",
            version=version,
            entropies=np.asarray(entropies, np.float32) if request.entropies else None,
        )

    def _distribution(
        self, context: Sequence[int], request: GenerationRequest
    ) -> npt.NDArray[np.float64]:
        """Return the log-probs of the token that follows `context`, float64[vocabulary]."""
        key = hashlib.sha256(self._digest + np.asarray(context, np.int64).tobytes()).digest()
        source = np.random.default_rng(int.from_bytes(key[:8]))
        logits = _SPREAD * source.standard_normal(self._vocabulary)
        return filtered_logprobs(logits, request)

    def _draw(self, logprobs: npt.NDArray[np.float64], request: GenerationRequest) -> int:
        if request.temperature == 0:
            return int(logprobs.argmax())
        return int(self._random.choice(self._vocabulary, p=np.exp(logprobs)))


def filtered_logprobs(
    logits: npt.NDArray[np.float64], request: GenerationRequest
) -> npt.NDArray[np.float64]:
    """Return float64[vocabulary] log-probs after temperature, then top-k, then top-p."""
    scaled = logits / (request.temperature or 1.0)
    if request.temperature > 0:
        order = np.argsort(-scaled)
        kept = order[: request.top_k or len(order)]
        cumulative = _softmax(scaled[kept]).cumsum()
        kept = kept[: int((cumulative < request.top_p).sum()) + 1]
        mask = np.full_like(scaled, -np.inf)
        mask[kept] = scaled[kept]
        scaled = mask
    with np.errstate(divide="ignore"):  # what is filtered out has log-prob -inf
        return np.log(_softmax(scaled))


def entropy(logprobs: npt.NDArray[np.float64]) -> float:
    """Return the entropy in nats of a distribution of log-probs, float64[vocabulary]."""
    possible = logprobs[np.isfinite(logprobs)]
    return float(-(np.exp(possible) * possible).sum())


def _softmax(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers = np.exp(values - values.max())
    return np.asarray(powers / powers.sum())


def _digest(directory: Path) -> bytes:
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        msg = f"{directory} has no *.safetensors file"
        raise RaloError(msg)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).digest()


def _version(directory: Path) -> int:
    manifest: Any = directory / "manifest.json"
    return int(json.loads(manifest.read_text())["number"]) if manifest.is_file() else 0

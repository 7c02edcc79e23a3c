"""The `transformers` inference engine: continuous batching on a Hugging Face causal LM.

Neighbours: sampling algorithms await `generate`; `decode_thread` and `decoding` do the work;
the sampler calls `load_weights` when a version was downloaded. This module opens the model
directory, checks requests and crosses between event loop and decode thread.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ralo_core import BuildContext, Completion, EngineStats, GenerationRequest, RaloError
from ralo_worker.engines.decode_thread import DecodeThread
from ralo_worker.engines.decoding import Decoder
from ralo_worker.engines.settings import TransformersSettings
from ralo_worker.engines.weights import load_weights


class TransformersEngine:
    """Satisfies `ralo_core.protocols.InferenceEngine`.

    Log-probs are those of the distribution each token was really drawn from. When weights
    change, running rows go on with the new ones over keys and values of the old ones; the
    version of a completion is the one at its start, the oldest that had a part in it.
    """

    def __init__(self, settings: TransformersSettings, context: BuildContext) -> None:
        if context.model_dir is None:
            msg = "the transformers engine needs a model directory; none was given"
            raise RaloError(msg)
        self._model = _open_model(context.model_dir, settings)
        self.eos_token_ids = _eos_token_ids(self._model, context.model_dir)
        self.max_length = _max_length(self._model)
        self.capacity = settings.max_batch
        self._vocabulary: int = self._model.get_input_embeddings().num_embeddings
        self._decoder = Decoder(
            self._model,
            self.eos_token_ids,
            max_batch=settings.max_batch,
            prefix_tokens=settings.prefix_cache_tokens,
            generator=torch.Generator(self._model.device).manual_seed(context.seed),
        )
        self.version = _version(context.model_dir)
        self._decoder.weights_changed(self.version)
        self._thread = DecodeThread(self._decoder)

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        """Return one completion per request, in order.

        Raises `RaloError` for a request that does not fit the model, and whatever the model
        raised if decoding failed. Cancelling the call frees its rows.
        """
        for request in requests:
            self._check(request)
        return await asyncio.wrap_future(self._thread.submit(requests))

    async def load_weights(self, version: int, directory: Path) -> float:
        """Swap in the safetensors files of `directory` between two decoding steps.

        Returns the seconds that took; raises `RaloError` if they do not fit, with nothing changed.
        """

        def swap() -> float:
            started = time.monotonic()
            load_weights(self._model, Path(directory))
            self._decoder.weights_changed(version)
            self.version = version
            return time.monotonic() - started

        return float(await asyncio.wrap_future(self._thread.call(swap)))

    def stats(self) -> EngineStats:
        """Return how busy the engine is."""
        return self._thread.stats()

    async def close(self) -> None:
        """Stop the decode thread; calls still waiting get a `RaloError`."""
        await asyncio.to_thread(self._thread.close)

    def _check(self, request: GenerationRequest) -> None:
        prompt, most = request.prompt, request.max_tokens
        complaint = ""
        if not prompt:
            complaint = "the prompt is empty"
        elif most < 1:
            complaint = f"max_tokens must be at least 1, got {most}"
        elif len(prompt) + most > self.max_length:
            complaint = (
                f"{len(prompt)} prompt tokens and max_tokens {most} exceed the model's context "
                f"of {self.max_length} tokens; ask for fewer tokens or drop the problem"
            )
        elif min(prompt) < 0 or max(prompt) >= self._vocabulary:
            complaint = f"a token id lies outside the vocabulary, 0 to {self._vocabulary - 1}"
        elif request.temperature < 0 or not request.top_p > 0 or request.top_k < 0:
            complaint = "temperature and top_k must be at least 0 and top_p above 0"
        if complaint:
            msg = f"generation request refused: {complaint}"
            raise RaloError(msg)


def _open_model(directory: Path, settings: TransformersSettings) -> Any:
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = settings.dtype
    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    try:
        model = AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, attn_implementation="sdpa"
        )
    except (OSError, ValueError) as error:
        msg = f"cannot open the model in {directory}: {error}"
        raise RaloError(msg) from error
    return model.to(device).eval().requires_grad_(False)


def _eos_token_ids(model: Any, directory: Path) -> frozenset[int]:
    """Return every end-of-sequence id that generation config and config name, or else the
    tokenizer's."""
    found: set[int] = set()
    for config in (model.generation_config, model.config):
        ids = getattr(config, "eos_token_id", None)
        found |= {ids} if isinstance(ids, int) else set(ids or ())
    if not found:
        token = AutoTokenizer.from_pretrained(directory).eos_token_id
        found = set() if token is None else {token}
    if not found:
        msg = f"the model in {directory} names no end-of-sequence token (eos_token_id)"
        raise RaloError(msg)
    return frozenset(found)


def _max_length(model: Any) -> int:
    longest = getattr(model.config, "max_position_embeddings", None)
    if not longest:
        msg = f"the config of {type(model).__name__} has no max_position_embeddings"
        raise RaloError(msg)
    return int(longest)


def _version(directory: Path) -> int:
    """Return the number in the directory's manifest, 0 where it is a plain model."""
    manifest = directory / "manifest.json"
    return int(json.loads(manifest.read_text())["number"]) if manifest.is_file() else 0

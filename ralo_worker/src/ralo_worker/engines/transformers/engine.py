"""The `transformers` inference engine: continuous batching on a Hugging Face causal LM.

This module opens the model directory and crosses between event loop and decode thread: the caller
awaits on the one, the model runs on the other.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ralo_core import BuildContext, Completion, EngineStats, GenerationRequest
from ralo_core.adapters import has_adapter
from ralo_core.request_checks import check_requests
from ralo_worker.adapters import open_causal_lm
from ralo_worker.engines.model_info import (
    eos_token_ids,
    max_length,
    model_directory,
    version_number,
)
from ralo_worker.engines.transformers.decode_thread import DecodeThread
from ralo_worker.engines.transformers.decoding import Decoder
from ralo_worker.engines.transformers.settings import TransformersSettings
from ralo_worker.weights.loading import load_weights


class TransformersEngine:
    """Satisfies `ralo_core.protocols.InferenceEngine`.

    Log-probs and entropies are those of the distribution each token was really drawn from; the
    entropies are exact, and computed only while a request asks for them. When weights
    change, running rows go on with the new ones over keys and values of the old ones; the
    version of a completion is the one at its start, the oldest that had a part in it.
    """

    def __init__(self, settings: TransformersSettings, context: BuildContext) -> None:
        directory = model_directory(context, "transformers")
        self._model = _open_model(directory, settings)
        self.eos_token_ids = eos_token_ids(directory)
        self.max_length = max_length(directory)
        self.capacity = settings.max_batch
        self._vocabulary: int = self._model.get_input_embeddings().num_embeddings
        self._decoder = Decoder(
            self._model,
            self.eos_token_ids,
            max_batch=settings.max_batch,
            prefix_tokens=settings.prefix_cache_tokens,
            generator=torch.Generator(self._model.device).manual_seed(context.seed),
        )
        self.version = version_number(directory)
        self._decoder.weights_changed(self.version)
        self._thread = DecodeThread(self._decoder)

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        """Return one completion per request, in order.

        Raises `RaloError` for a request that does not fit the model, and whatever the model
        raised if decoding failed. Cancelling the call frees its rows.
        """
        check_requests(requests, max_length=self.max_length, vocabulary=self._vocabulary)
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


def _open_model(directory: Path, settings: TransformersSettings) -> Any:
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = settings.dtype
    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    model = open_causal_lm(directory, dtype=dtype, attn_implementation="sdpa")
    if has_adapter(directory):
        load_weights(model, directory)  # transformers leaves out what does not fit
    return model.to(device).eval().requires_grad_(False)

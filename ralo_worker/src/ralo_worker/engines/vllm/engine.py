"""The `vllm` inference engine: vLLM's asynchronous client behind our contract.

vLLM runs in processes of its own, and weights are loaded inside them (`weights`). Its client must
stay on one event loop, so that has a thread of its own (`event_loop`).
"""

import asyncio
import itertools
import math
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import numpy as np
from vllm.distributed.weight_transfer.base import (
    WeightTransferInitRequest,
    WeightTransferUpdateRequest,
)
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs.engine import tokens_input
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from ralo_core import BuildContext, Completion, EngineStats, GenerationRequest, RaloError
from ralo_core.request_checks import check_requests
from ralo_worker.engines.model_info import (
    eos_token_ids,
    model_directory,
    version_number,
    vocabulary,
)
from ralo_worker.engines.vllm.adapters import adapter_in
from ralo_worker.engines.vllm.arguments import check_temperature, engine_arguments, sampling_params
from ralo_worker.engines.vllm.event_loop import EventLoopThread
from ralo_worker.engines.vllm.logprobs import sampled_logprobs, top_entropies
from ralo_worker.engines.vllm.settings import VllmSettings
from ralo_worker.engines.vllm.stats import Counters
from ralo_worker.weights.checkpoint import misshapen, refuse_faults, shapes

T = TypeVar("T")

_CLOSED = "the inference engine is closed"
_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
_FINISH_REASONS = {"stop": "eos", "length": "length"}


@attrs.frozen
class _Epoch:
    """The time between two activations: the weight version, and a number that never repeats."""

    version: int
    number: int


class VllmEngine:
    """Satisfies `ralo_core.protocols.InferenceEngine`.

    Log-probs are those of the distribution each token was really drawn from; entropies are
    estimates, of its `entropy_top_k` most probable tokens. A completion's version is the oldest
    that wrote a token of it. No key or value computed before an activation
    is used for a request that is sent after it: the prefix cache is reset, or, where running
    requests hold on to it (``keep_going``), later prompts are salted so that they cannot find it.
    """

    def __init__(self, settings: VllmSettings, context: BuildContext) -> None:
        directory = model_directory(context, "vllm")
        self.eos_token_ids = eos_token_ids(directory)
        self._vocabulary = vocabulary(directory)
        self._shapes = shapes(directory)
        self._adapter = adapter_in(directory)
        self.devices = math.prod(int(settings.engine_args.get(name, 1)) for name in _PARALLEL)
        self._policy = settings.in_flight
        self._alternatives = min(settings.entropy_top_k, self._vocabulary)
        self._epoch = _Epoch(version_number(directory), 0)
        self._counters = Counters()
        self._ids = itertools.count()
        self._calls: set[asyncio.Task[Any]] = set()
        self._closed = ""
        self._loop = EventLoopThread("ralo-vllm")
        arguments = engine_arguments(settings, directory, context.seed)
        try:
            self._llm: AsyncLLM = self._loop.submit(self._start(arguments)).result()
        except (RuntimeError, ValueError, OSError) as error:
            self._loop.stop()
            msg = f"vLLM could not be started on {directory}: {error}; its log says why"
            raise RaloError(msg) from error
        config = self._llm.vllm_config
        self.max_length: int = config.model_config.max_model_len
        self.capacity: int = config.scheduler_config.max_num_seqs

    @property
    def version(self) -> int:
        """The weight version that new tokens are written with."""
        return self._epoch.version

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        """Return one completion per request, in order.

        Raises `RaloError` for a request that the model cannot serve, and when vLLM failed or was
        closed. Cancelling the call aborts its requests.
        """
        check_requests(requests, max_length=self.max_length, vocabulary=self._vocabulary)
        for request in requests:
            check_temperature(request)
        return await self._on_loop(self._generate(requests))

    async def load_weights(self, version: int, directory: Path) -> float:
        """Have every vLLM worker load the safetensors files of `directory`, or its adapter.

        Returns the seconds in which nothing was decoded. Raises `RaloError` for files that do not
        fit, with nothing changed, and for an activation that failed: then the engine is closed,
        for nothing may be sampled from a model of which part is new. It is not cut short by a
        cancelled caller.
        """
        return await asyncio.shield(self._on_loop(self._load(version, Path(directory))))

    def stats(self) -> EngineStats:
        """Return how busy the engine is."""
        return self._counters.read()

    async def close(self) -> None:
        """Stop vLLM's processes; calls still waiting get a `RaloError`."""
        if self._loop.running:
            await asyncio.wrap_future(self._loop.submit(self._shut_down(_CLOSED)))
            await asyncio.to_thread(self._loop.stop)

    async def _on_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            coroutine.close()
            raise RaloError(self._closed)
        return await asyncio.wrap_future(self._loop.submit(coroutine))

    async def _start(self, arguments: AsyncEngineArgs) -> AsyncLLM:
        self._loading = asyncio.Lock()
        llm = AsyncLLM.from_engine_args(arguments, stat_loggers=[lambda *_: self._counters])
        if self._adapter is None:
            await llm.init_weight_transfer_engine(WeightTransferInitRequest())
        else:
            await llm.add_lora(self._adapter)
        await llm.update_weight_version(str(self.version))
        return llm

    async def _generate(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        calls = [asyncio.create_task(self._complete(request)) for request in requests]
        self._calls.update(calls)
        try:
            return list(await asyncio.gather(*calls))
        except asyncio.CancelledError:
            if self._closed:
                raise RaloError(self._closed) from None
            raise
        finally:
            for call in calls:
                call.cancel()
            self._calls.difference_update(calls)

    async def _complete(self, request: GenerationRequest) -> Completion:
        epoch = self._epoch
        prompt = tokens_input(list(request.prompt), cache_salt=self._salt(epoch))
        params = sampling_params(request, self.eos_token_ids, self._alternatives)
        try:
            number = str(next(self._ids))
            stream = self._llm.generate(prompt, params, number, lora_request=self._adapter)
            outputs = [output async for output in stream]
        except (EngineDeadError, EngineGenerateError) as error:
            msg = "vLLM failed while it generated; its log says why"
            raise RaloError(msg) from error
        return self._completion(request, outputs[-1].outputs[0], epoch)

    def _salt(self, epoch: _Epoch) -> str | None:
        return str(epoch.number) if self._policy == "keep_going" else None

    def _completion(self, request: GenerationRequest, output: Any, epoch: _Epoch) -> Completion:
        if output.finish_reason not in _FINISH_REASONS:
            msg = f"vLLM ended a request with '{output.finish_reason}'"
            raise RaloError(msg)
        versions = [int(span.version) for span in output.weight_versions]
        if self._policy == "keep_going":
            versions.append(epoch.version)  # what wrote the keys and values of the prompt
        return Completion(
            tokens=np.asarray(output.token_ids, np.int32),
            logprobs=sampled_logprobs(output.logprobs),
            finish_reason=_FINISH_REASONS[output.finish_reason],
            version=min(versions),
            entropies=top_entropies(output.logprobs) if request.entropies else None,
        )

    async def _load(self, version: int, directory: Path) -> float:
        self._check_fit(directory)
        async with self._loading:
            started = time.monotonic()
            if self._policy == "finish":
                await self._llm.pause_generation(mode="wait", clear_cache=False)
                started = time.monotonic()  # until here it decoded
            else:
                await self._llm.pause_generation(mode="keep", clear_cache=False)
            await self._activate(version, directory)
            await self._llm.resume_generation()
            return time.monotonic() - started

    async def _activate(self, version: int, directory: Path) -> None:
        adapter = adapter_in(directory, anew=True)
        try:
            if self._policy != "keep_going":
                await self._llm.reset_prefix_cache(reset_running_requests=True)
            if adapter is None:
                await self._replace_model(version, directory)
            else:
                await self._llm.add_lora(adapter)
                await self._llm.update_weight_version(str(version))
        except Exception as error:  # whatever type a process of vLLM raised and sent
            reason = f"the weights in {directory} were not activated, the engine is closed: {error}"
            await self._shut_down(reason)
            raise RaloError(reason) from error
        self._epoch = _Epoch(version, self._epoch.number + 1)

    async def _replace_model(self, version: int, directory: Path) -> None:
        request = WeightTransferUpdateRequest(update_info={"directory": str(directory)})
        await self._llm.start_weight_update()
        await self._llm.update_weights(request)
        await self._llm.finish_weight_update(weight_version=str(version))

    def _check_fit(self, directory: Path) -> None:
        found = shapes(directory)
        faults = {
            "missing": [name for name in self._shapes if name not in found],
            "not in the model": [name for name in found if name not in self._shapes],
            "wrong shape": misshapen(self._shapes, found),
        }
        refuse_faults(faults, directory)

    async def _shut_down(self, reason: str) -> None:
        """Stop vLLM; whoever waits gets `reason`."""
        if self._closed:
            return
        self._closed = reason
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        self._llm.shutdown()
        del self._llm  # else it shuts down again when the interpreter ends, and fails

"""What can be said of the vllm engine without vLLM: settings, the way in, the missing package."""

import asyncio
import importlib.util
import math
from importlib.metadata import entry_points
from types import SimpleNamespace

import pytest
from patience import PATIENCE

from ralo_core import BuildContext, RaloError
from ralo_core.errors import ConfigError
from ralo_core.structuring import structure
from ralo_worker.engines.vllm.event_loop import EventLoopThread
from ralo_worker.engines.vllm.logprobs import sampled_logprobs, top_entropies
from ralo_worker.engines.vllm.opening import open_engine
from ralo_worker.engines.vllm.settings import VllmSettings


def test_without_vllm_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RaloError, match=r"pip install 'ralo-worker\[vllm\]'"):
        open_engine(VllmSettings(), BuildContext(role="sampler"))


def test_any_argument_of_vllm_is_taken_except_those_that_would_break_the_contract():
    free = structure({"engine_args": {"tensor_parallel_size": 2}}, VllmSettings)
    assert free.engine_args == {"tensor_parallel_size": 2}
    taken = {"engine_args": {"logprobs_mode": "raw_logprobs", "model": "m"}, "in_flight": "drop"}
    with pytest.raises(ConfigError) as error:
        structure(taken, VllmSettings, "engine.vllm")
    assert "engine.vllm.engine_args: logprobs_mode, model: the engine sets this" in str(error.value)
    assert "engine.vllm.in_flight: must be one of 'finish', 'continue'" in str(error.value)


def test_an_entropy_is_that_of_the_renormalised_alternatives():
    """The first of each position is the sampled token; the rest are the most probable ones."""
    rare, never = math.log(0.001), -math.inf
    rows = [
        [math.log(0.3), math.log(0.3), math.log(0.2), math.log(0.1)],
        [rare, math.log(0.5), math.log(0.25), math.log(0.2)],
        [0.0, 0.0, never, never],
    ]
    flat = SimpleNamespace(
        logprobs=[value for row in rows for value in row], start_indices=[0, 4, 8]
    )
    assert sampled_logprobs(flat) == pytest.approx([math.log(0.3), rare, 0.0])
    expected = [
        -sum(p * math.log(p) for p in (0.3 / 0.6, 0.2 / 0.6, 0.1 / 0.6)),
        -sum(p * math.log(p) for p in (0.5 / 0.95, 0.25 / 0.95, 0.2 / 0.95)),
        0.0,
    ]
    assert top_entropies(flat) == pytest.approx(expected)


def test_vllm_finds_the_weight_transfer_engine_by_its_entry_point():
    (found,) = entry_points(group="vllm.general_plugins", name="ralo")
    assert found.value == "ralo_worker.engines.vllm.plugin:register"
    assert callable(found.load())


def test_a_coroutine_runs_on_the_thread_and_is_cancelled_with_its_future():
    thread = EventLoopThread("test")
    cancelled = []

    async def answer():
        return asyncio.get_running_loop()

    async def endless():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    assert thread.submit(answer()).result(PATIENCE) is thread.submit(answer()).result(PATIENCE)
    future = thread.submit(endless())
    thread.submit(answer()).result(PATIENCE)
    future.cancel()
    thread.submit(answer()).result(PATIENCE)
    assert cancelled == [True]
    assert thread.running
    thread.stop()
    assert not thread.running

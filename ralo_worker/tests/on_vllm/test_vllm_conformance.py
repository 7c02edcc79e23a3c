"""The conformance suite of engines on real vLLM, under each policy for running requests."""

import pytest

from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_core.testing import check_component


@pytest.mark.parametrize("in_flight", ["finish", "continue", "keep_going"])
def test_the_engine_keeps_the_contract(in_flight, models):
    directory, _ = models(0, tied=True)
    other, _ = models(1, tied=True)
    settings = {"in_flight": in_flight, "engine_args": {"kv_cache_memory_bytes": 2**26}}
    check_component(
        "inference_engine", "vllm", settings, registry=Registry(PluginHost(strict=True).load()),
        model_dir=directory, new_weights=other,
    )  # fmt: skip

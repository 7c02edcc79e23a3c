"""Engines on real vLLM, and the references they are held to; skipped where vLLM is missing."""

import asyncio
import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from ralo_core import BuildContext
from ralo_worker.engines.vllm.opening import open_engine
from ralo_worker.engines.vllm.settings import VllmSettings

SIZES = {
    "vocab_size": 64, "hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "initializer_range": 0.3, "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None,
}  # fmt: skip
KV_BYTES = 2**26


def pytest_collection_modifyitems(items):
    if importlib.util.find_spec("vllm") is None:
        skip = pytest.mark.skip(reason="vLLM is not installed; `nox -s vllm` runs these tests")
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Return a function that gives a saved model by seed: its directory, and it in fp32."""
    root = tmp_path_factory.mktemp("models")

    def make(seed, tied):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=tied)).eval()
        directory = root / f"{'tied' if tied else 'untied'}-{seed}"
        model.save_pretrained(directory)
        return directory, model

    return make


@pytest.fixture(scope="session")
def settings_of():
    """Return a function that makes settings with a small key-value cache."""

    def make(in_flight="continue", entropy_top_k=20, **engine_args):
        engine_args.setdefault("kv_cache_memory_bytes", KV_BYTES)
        return VllmSettings(
            in_flight=in_flight, entropy_top_k=entropy_top_k, engine_args=engine_args
        )

    return make


@pytest.fixture(scope="module")
def opened():
    """Return a function that opens an engine, closed at the end of the module."""
    engines = []

    def make(directory, settings):
        context = BuildContext(role="sampler", model_dir=directory)
        engines.append(open_engine(settings, context))
        return engines[-1]

    yield make
    for engine in engines:
        asyncio.run(engine.close())


@pytest.fixture(scope="session")
def teacher_forced():
    """Return a function that gives the log-probs of `tokens` after `prompt`: float32[tokens]."""

    @torch.no_grad()
    def logprobs(model, prompt, tokens, distribution=lambda logits: logits.log_softmax(-1)):
        logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
        rows = [distribution(row)[int(token)] for row, token in zip(logits, tokens, strict=True)]
        return torch.stack(rows).float().numpy()

    return logprobs


@pytest.fixture(scope="session")
def greedy():
    """Return a function that gives transformers' greedy continuation."""

    def tokens(model, prompt, most):
        ids = torch.tensor([prompt])
        options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0}
        return model.generate(ids, max_new_tokens=most, **options)[0, len(prompt) :].tolist()

    return tokens

"""The log-probs that vLLM reports, against teacher-forced transformers in fp32."""

import asyncio
from functools import partial

import numpy as np
import pytest
import torch

from ralo_core import GenerationRequest, RaloError

LARGEST, MEAN = 1e-3, 2e-5
ALTERNATIVES = 6
OPTIONS = [
    {"temperature": 1.0},
    {"temperature": 0.6},
    {"temperature": 1.3, "top_k": 5},
    {"temperature": 0.9, "top_p": 0.7},
    {"temperature": 0.8, "top_p": 0.8, "top_k": 9},
    {"temperature": 0.0},
]


@pytest.fixture(scope="module")
def model_and_engine(models, opened, settings_of):
    directory, model = models(0, tied=True)
    return model, opened(directory, settings_of(entropy_top_k=ALTERNATIVES))


def filtered(request, logits):
    """log-probs of the distribution that a request asks for, written out naively."""
    scaled = logits.double() / (request.temperature or 1.0)
    if request.temperature and request.top_k:
        floor = scaled.topk(request.top_k).values[-1]
        scaled = torch.where(scaled < floor, -torch.inf, scaled)
    if request.temperature and request.top_p < 1:
        probabilities, order = scaled.softmax(-1).sort(descending=True)
        kept = order[: int((probabilities.cumsum(-1) < request.top_p).sum()) + 1]
        masked = torch.full_like(scaled, -torch.inf)
        masked[kept] = scaled[kept]
        scaled = masked
    return scaled.log_softmax(-1)


def test_they_are_those_of_the_distribution_drawn_from(model_and_engine, teacher_forced, capsys):
    """All options in one batch, as a sampler and an evaluation share it."""
    model, engine = model_and_engine
    generator = torch.Generator().manual_seed(0)
    wanted = [
        GenerationRequest(
            prompt=tuple(torch.randint(2, 64, (3 + 11 * n,), generator=generator).tolist()),
            max_tokens=40,
            **options,
        )
        for n in range(10)
        for options in OPTIONS
    ]
    answers = asyncio.run(engine.generate(wanted))
    expected = [
        teacher_forced(model, request.prompt, done.tokens, partial(filtered, request))
        for request, done in zip(wanted, answers, strict=True)
    ]
    reported = np.concatenate([done.logprobs for done in answers])
    everything = np.abs(reported - np.concatenate(expected))
    with capsys.disabled():
        print(
            f"\nlog-probs of vLLM against transformers, fp32, {len(everything)} tokens: "
            f"difference at most {everything.max():.2e}, mean {everything.mean():.2e}"
        )
    assert {done.finish_reason for done in answers} == {"eos", "length"}
    assert everything.max() < LARGEST
    assert everything.mean() < MEAN


def test_entropies_are_those_of_the_most_probable_tokens(model_and_engine, teacher_forced):
    model, engine = model_and_engine
    wanted = [
        GenerationRequest(prompt=(5 + n, 9), max_tokens=12, entropies=n % 3 > 0, **options)
        for n in range(6)
        for options in OPTIONS
    ]
    for request, done in zip(wanted, asyncio.run(engine.generate(wanted)), strict=True):
        if not request.entropies:
            assert done.entropies is None
            continue

        def surprises(logits, request=request):
            most = filtered(request, logits).topk(ALTERNATIVES).values.log_softmax(-1)
            return (-most.exp() * most.nan_to_num(neginf=0.0)).sum().expand(len(logits))

        expected = teacher_forced(model, request.prompt, done.tokens, surprises)
        assert np.abs(done.entropies - expected).max() < LARGEST


def test_temperature_zero_equals_greedy_generate(model_and_engine, greedy):
    model, engine = model_and_engine
    wanted = [
        GenerationRequest(prompt=tuple(range(2, 3 + 5 * n)), max_tokens=30, temperature=0.0)
        for n in range(12)
    ]
    for request, done in zip(wanted, asyncio.run(engine.generate(wanted)), strict=True):
        assert done.tokens.tolist() == greedy(model, request.prompt, request.max_tokens)


def test_a_temperature_that_vllm_would_replace_is_refused(model_and_engine):
    _, engine = model_and_engine
    request = GenerationRequest(prompt=(5,), max_tokens=1, temperature=0.001)
    with pytest.raises(RaloError, match="at temperature 0.01 or above"):
        asyncio.run(engine.generate([request]))

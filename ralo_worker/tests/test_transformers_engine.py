"""The transformers engine against plain Hugging Face forward passes and `generate`."""

import asyncio
from collections import Counter

import attrs
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from ralo_core import BuildContext, GenerationRequest, RaloError
from ralo_tasks.tiny_model.tokenizer import make_tokenizer
from ralo_worker.engines.transformers import sampling
from ralo_worker.engines.transformers.engine import TransformersEngine
from ralo_worker.engines.transformers.settings import TransformersSettings

torch.set_num_threads(1)

VOCABULARY = 64
EOS = 1
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "initializer_range": 0.3, "eos_token_id": EOS, "pad_token_id": 0, "bos_token_id": None,
}  # fmt: skip
FAMILIES = {"qwen2": (Qwen2ForCausalLM, Qwen2Config), "llama": (LlamaForCausalLM, LlamaConfig)}


def save_model(directory, seed, family="qwen2", **changes):
    torch.manual_seed(seed)
    model_class, config_class = FAMILIES[family]
    model = model_class(config_class(**{**SIZES, **changes})).eval()
    model.save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return model


@pytest.fixture(params=sorted(FAMILIES))
def model(request, tmp_path):
    return save_model(tmp_path / "model", 0, request.param)


@pytest.fixture
def engine_of(tmp_path):
    """Return a function that opens the engine on the saved model."""
    opened = []

    def open_engine(seed=0, **settings):
        context = BuildContext(role="sampler", seed=seed, model_dir=tmp_path / "model")
        opened.append(TransformersEngine(TransformersSettings(**settings), context))
        return opened[-1]

    yield open_engine
    for engine in opened:
        asyncio.run(engine.close())


def requests(count, max_tokens=20, **options):
    generator = torch.Generator().manual_seed(count)
    return [
        GenerationRequest(
            prompt=tuple(torch.randint(2, VOCABULARY, (1 + i % 7,), generator=generator).tolist()),
            max_tokens=1 + (3 * i + max_tokens) % max_tokens,
            **options,
        )
        for i in range(count)
    ]


def generate(engine, wanted):
    return asyncio.run(engine.generate(wanted))


def filtered(logits, request):
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


OPTIONS = [
    {"temperature": 1.0},
    {"temperature": 0.6},
    {"temperature": 1.3, "top_k": 5},
    {"temperature": 0.9, "top_p": 0.7},
    {"temperature": 0.8, "top_p": 0.8, "top_k": 9},
    {"temperature": 0.0},
]


def teacher_forced(model, request, done):
    """Return the log-probs of the distribution at every token of a completion."""
    tokens = torch.tensor([[*request.prompt, *done.tokens.tolist()]])
    with torch.no_grad():
        logits = model(tokens).logits[0, len(request.prompt) - 1 : -1]
    return [filtered(row, request) for row in logits]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_logprobs_equal_a_teacher_forced_recomputation(model, engine_of, options):
    wanted = requests(24, **options)
    for request, done in zip(wanted, generate(engine_of(max_batch=10), wanted), strict=True):
        rows = teacher_forced(model, request, done)
        for row, token, logprob in zip(rows, done.tokens, done.logprobs, strict=True):
            assert abs(float(row[int(token)]) - logprob) < 1e-4


def test_entropies_equal_a_teacher_forced_recomputation(model, engine_of):
    """Rows that ask and rows that do not share the batch, come and go, and move between slots."""
    wanted = [
        attrs.evolve(request, entropies=bool(number % 3))
        for options in OPTIONS
        for number, request in enumerate(requests(12, **options))
    ]
    wanted.sort(key=lambda request: request.max_tokens)  # the table grows under running rows
    answers = generate(engine_of(max_batch=10), wanted)
    for request, done in zip(wanted, answers, strict=True):
        if not request.entropies:
            assert done.entropies is None
            continue
        for row, entropy in zip(teacher_forced(model, request, done), done.entropies, strict=True):
            kept = row[row.isfinite()]
            assert abs(float(-(kept.exp() * kept).sum()) - entropy) < 1e-4


def test_no_entropy_is_computed_that_nobody_asks_for(model, engine_of, monkeypatch):
    def refuse(probabilities):
        raise RuntimeError("computed")

    monkeypatch.setattr(sampling, "_entropies", refuse)
    generate(engine_of(), requests(5))
    with pytest.raises(RuntimeError, match="computed"):
        generate(engine_of(), requests(5, entropies=True))


def test_temperature_zero_equals_greedy_generate(model, engine_of):
    wanted = requests(16, temperature=0.0)
    for request, done in zip(wanted, generate(engine_of(), wanted), strict=True):
        prompt = torch.tensor([request.prompt])
        expected = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
            max_new_tokens=request.max_tokens, pad_token_id=0,
        )[0, len(request.prompt) :]  # fmt: skip
        assert done.tokens.tolist() == expected.tolist()
        ended = bool(expected[-1] == EOS)
        assert done.finish_reason == ("eos" if ended else "length")


def test_concurrent_callers_get_their_own_rows_in_order(model, engine_of):
    engine = engine_of(max_batch=7)
    groups = [requests(count, max_tokens=9, temperature=0.0) for count in (3, 11, 1, 8)]

    async def together():
        return await asyncio.gather(*(engine.generate(group) for group in groups))

    answers = asyncio.run(together())
    alone = engine_of(max_batch=1)
    for group, answer in zip(groups, answers, strict=True):
        expected = generate(alone, group)
        assert [a.tokens.tolist() for a in answer] == [e.tokens.tolist() for e in expected]
        assert all(len(a.tokens) <= r.max_tokens for a, r in zip(answer, group, strict=True))


def test_continuing_a_segment_is_the_same_with_and_without_the_prefix_cache(model, engine_of):
    cached, plain = engine_of(prefix_cache_tokens=10_000), engine_of(prefix_cache_tokens=0)
    first = [
        GenerationRequest(prompt=request.prompt, max_tokens=6, temperature=0.0)
        for request in requests(8)
    ]
    done = generate(cached, first)
    second = [
        GenerationRequest(prompt=(*r.prompt, *d.tokens.tolist()), max_tokens=8, temperature=0.0)
        for r, d in zip(first, done, strict=True)
        if d.finish_reason == "length"
    ] * 2
    assert second
    for with_cache, without in zip(generate(cached, second), generate(plain, second), strict=True):
        assert with_cache.tokens.tolist() == without.tokens.tolist()
        assert with_cache.logprobs == pytest.approx(without.logprobs, abs=1e-4)


def test_new_weights_are_used_for_everything_afterwards(model, engine_of, tmp_path):
    family = "llama" if isinstance(model, LlamaForCausalLM) else "qwen2"
    save_model(tmp_path / "other", 7, family)
    engine = engine_of()
    before = [
        GenerationRequest(prompt=request.prompt, max_tokens=5, temperature=0.0)
        for request in requests(6)
    ]
    done = generate(engine, before)
    asyncio.run(engine.load_weights(3, tmp_path / "other"))
    again = [
        GenerationRequest(prompt=(*r.prompt, *d.tokens.tolist()), max_tokens=6, temperature=0.0)
        for r, d in zip(before, done, strict=True)
    ]
    after = generate(engine, again)
    assert engine.version == 3
    assert {completion.version for completion in after} == {3}
    (tmp_path / "model").rename(tmp_path / "old")
    (tmp_path / "other").rename(tmp_path / "model")
    fresh = generate(engine_of(), again)
    assert [a.tokens.tolist() for a in after] == [f.tokens.tolist() for f in fresh]


def test_weights_that_do_not_fit_are_refused_and_change_nothing(model, engine_of, tmp_path):
    engine = engine_of()
    wanted = requests(4, temperature=0.0)
    before = generate(engine, wanted)
    family = "llama" if isinstance(model, LlamaForCausalLM) else "qwen2"
    save_model(tmp_path / "wide", 1, family, hidden_size=48)
    (tmp_path / "empty").mkdir()
    for folder, message in (("wide", "wrong shape"), ("empty", "no .*safetensors")):
        with pytest.raises(RaloError, match=message):
            asyncio.run(engine.load_weights(1, tmp_path / folder))
    after = generate(engine, wanted)
    assert [a.tokens.tolist() for a in after] == [b.tokens.tolist() for b in before]
    assert engine.version == 0


def test_a_cancelled_call_frees_its_rows(model, engine_of):
    engine = engine_of(max_batch=2)

    async def scenario():
        endless = [GenerationRequest(prompt=(5,), max_tokens=120, temperature=1.0)] * 2
        call = asyncio.ensure_future(engine.generate(endless * 20))
        await asyncio.sleep(0.05)
        call.cancel()
        quick = GenerationRequest(prompt=(5, 6), max_tokens=2, temperature=0.0)
        return await asyncio.wait_for(engine.generate([quick]), 5)

    (done,) = asyncio.run(scenario())
    assert 1 <= len(done.tokens) <= 2


def test_closing_fails_whoever_waits(model, engine_of):
    engine = engine_of(max_batch=1)

    async def scenario():
        call = asyncio.ensure_future(
            engine.generate([GenerationRequest(prompt=(5,), max_tokens=100)] * 50)
        )
        await asyncio.sleep(0.05)
        await engine.close()
        await call

    with pytest.raises(RaloError, match="closed"):
        asyncio.run(scenario())
    with pytest.raises(RaloError, match="closed"):
        generate(engine, requests(1))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (GenerationRequest(prompt=(), max_tokens=3), "prompt is empty"),
        (GenerationRequest(prompt=(1,), max_tokens=0), "max_tokens must be at least 1"),
        (GenerationRequest(prompt=(1,) * 100, max_tokens=29), "context of 128 tokens"),
        (GenerationRequest(prompt=(VOCABULARY,), max_tokens=3), "outside the vocabulary"),
        (GenerationRequest(prompt=(1,), max_tokens=3, temperature=-1.0), "at least 0"),
    ],
)
def test_a_request_that_cannot_be_served_says_why(model, engine_of, request_, message):
    with pytest.raises(RaloError, match=message):
        generate(engine_of(), [request_])


def test_tokens_are_drawn_with_their_probabilities(tmp_path, engine_of):
    model = save_model(tmp_path / "model", 0, initializer_range=0.2)
    count = 6000
    wanted = [GenerationRequest(prompt=(9, 4), max_tokens=1, temperature=0.8)] * count
    drawn = Counter(int(done.tokens[0]) for done in generate(engine_of(seed=3), wanted))
    with torch.no_grad():
        expected = (model(torch.tensor([[9, 4]])).logits[0, -1] / 0.8).softmax(-1) * count
    # The statistic has VOCABULARY - 1 degrees of freedom: 110 is beyond its 99.9 % quantile.
    statistic = sum(
        (drawn.get(token, 0) - float(mean)) ** 2 / float(mean)
        for token, mean in enumerate(expected)
    )
    assert statistic < 110

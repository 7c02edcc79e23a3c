"""The fake engine does what it says, and the kit notices an engine that breaks a promise."""

import asyncio
import json

import attrs
import numpy as np
import pytest
from safetensors.numpy import save_file

from ralo_core import BuildContext, GenerationRequest, RaloError
from ralo_core.testing import FakeEngine, check_inference_engine
from ralo_core.testing.fake_engine import entropy, filtered_logprobs

VOCABULARY, EOS = 12, 0


def model(directory, seed):
    directory.mkdir()
    config = {"vocab_size": VOCABULARY, "eos_token_id": EOS, "max_position_embeddings": 256}
    (directory / "config.json").write_text(json.dumps(config))
    weights = np.random.default_rng(seed).standard_normal(8).astype(np.float32)
    save_file({"weights": weights}, directory / "model.safetensors")
    return directory


@pytest.fixture
def models(tmp_path):
    return model(tmp_path / "one", 0), model(tmp_path / "two", 1)


def context(models):
    return BuildContext(role="cli", model_dir=models[0])


def test_answers_are_a_function_of_the_weights_and_the_tokens_so_far(models):
    wanted = [GenerationRequest(prompt=(n,), max_tokens=30, temperature=0.0) for n in range(1, 9)]

    def answers(load):
        engine = FakeEngine(None, context(models))
        if load:
            asyncio.run(engine.load_weights(1, load))
        return [done.tokens.tolist() for done in asyncio.run(engine.generate(wanted))]

    assert answers(None) == answers(models[0]) != answers(models[1])


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("top_k", [0, 1, 4])
@pytest.mark.parametrize("top_p", [0.3, 0.8, 1.0])
def test_filters_equal_their_definition(temperature, top_k, top_p):
    request = GenerationRequest(
        prompt=(1,), max_tokens=1, temperature=temperature, top_k=top_k, top_p=top_p
    )
    logits = np.random.default_rng(3).standard_normal(VOCABULARY)
    weights = {n: np.exp(logit / (temperature or 1.0)) for n, logit in enumerate(logits)}
    ranked = sorted(weights, key=lambda n: -weights[n])
    if temperature and top_k:
        ranked = ranked[:top_k]
    total, kept, mass = sum(weights[n] for n in ranked), [], 0.0
    for n in ranked:
        if mass < top_p or not temperature:
            kept.append(n)
        mass += weights[n] / total
    expected = np.full(VOCABULARY, -np.inf)
    for n in kept:
        expected[n] = np.log(weights[n] / sum(weights[k] for k in kept))
    assert filtered_logprobs(logits, request) == pytest.approx(expected)
    surprise = sum(-np.exp(expected[n]) * expected[n] for n in kept)
    assert entropy(filtered_logprobs(logits, request)) == pytest.approx(surprise)


class Wrong(FakeEngine):
    """Each fault breaks one promise."""

    def __init__(self, fault, models):
        super().__init__(None, context(models))
        self.fault, self.left_over, self.plain = fault, 0, False

    async def generate(self, requests):
        if self.fault == "no refusal" and not all(request.prompt for request in requests):
            return []
        if self.fault == "goes on when closed" and self._closed:
            return []
        if self.fault == "hot":
            requests = [attrs.evolve(r, temperature=r.temperature and 1.0) for r in requests]
        if self.fault == "not greedy":
            requests = [attrs.evolve(r, temperature=r.temperature or 1.0) for r in requests]
        if self.fault == "ignores top_k":
            requests = [attrs.evolve(r, top_k=0) for r in requests]
        if self.fault == "ignores top_p":
            requests = [attrs.evolve(r, top_p=1.0) for r in requests]
        if self.fault == "refuses in riddles" and any(r.entropies for r in requests):
            raise RaloError("no")
        if self.fault == "" and self.plain and any(r.entropies for r in requests):
            raise RaloError("this engine has no entropies")
        wanted = requests
        requests = [self.asking(request) for request in requests]
        try:
            answers = await super().generate(requests)
        except asyncio.CancelledError:
            self.left_over += self.fault == "keeps rows"
            raise
        return [
            self.changed(self.with_entropies(*pair)) for pair in zip(answers, wanted, strict=True)
        ]

    def asking(self, request):
        if self.fault == "always entropies":
            return attrs.evolve(request, entropies=True)
        if self.fault == "never entropies":
            return attrs.evolve(request, entropies=False)
        return request

    def with_entropies(self, done, wanted):
        if not wanted.entropies or not self.fault.startswith("entropies"):
            return done
        values = {
            "entropies of doubles": done.entropies.astype(np.float64),
            "entropies too few": done.entropies[:-1],
            "entropies below 0": -done.entropies,
            "entropies shifted": np.roll(done.entropies, 1),
            "entropies in bits": done.entropies / np.float32(np.log(2)),
            "entropies of choices": done.entropies * np.float32(wanted.temperature > 0),
        }[self.fault]
        return attrs.evolve(done, entropies=values)

    def changed(self, done):
        if self.fault == "logprobs":
            return attrs.evolve(done, logprobs=done.logprobs * np.float32(0.7))
        if self.fault == "reason":
            return attrs.evolve(done, finish_reason="stop")
        if self.fault == "version":
            return attrs.evolve(done, version=0)
        if self.fault == "dtype":
            return attrs.evolve(done, logprobs=done.logprobs.astype(np.float64))
        return done

    async def load_weights(self, version, directory):
        if self.fault == "takes an empty directory" and not list(directory.glob("*.safetensors")):
            return 0.0
        if self.fault == "keeps the weights" and list(directory.glob("*.safetensors")):
            self.version = version
            return 0.0
        if self.fault == "no seconds":
            await super().load_weights(version, directory)
            return None
        return await super().load_weights(version, directory)

    def stats(self):
        real = super().stats()
        if self.fault == "keeps rows":
            return attrs.evolve(real, running=real.running + self.left_over)
        if self.fault == "old cache":
            return attrs.evolve(real, cached_tokens=real.prompt_tokens // 2)
        if self.fault == "counts nothing":
            return attrs.evolve(real, decoded_tokens=0)
        return real


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no refusal", "with an empty prompt must be refused"),
        ("goes on when closed", "when it is closed must be refused"),
        ("hot", "log-probs must be those of the tempered"),
        ("ignores top_k", "top_k 3 must leave 3 tokens"),
        ("ignores top_p", "top_p 0.5 must leave the smallest set"),
        ("logprobs", "probabilities of what was drawn|with the probabilities that their log-probs"),
        ("not greedy", "must give the same tokens every time"),
        ("reason", "finish_reason must be 'eos'"),
        ("version", "must carry the new version"),
        ("dtype", "logprobs must be float32"),
        ("takes an empty directory", "must be refused with a RaloError"),
        ("keeps the weights", "new weights must be used"),
        ("no seconds", "a number of seconds"),
        ("keeps rows", "must free its rows"),
        ("old cache", "from the prefix cache of the old weights"),
        ("counts nothing", "must count tokens"),
        ("always entropies", "must be None where they were not asked for"),
        ("never entropies", "must have the entropies that were asked for"),
        ("refuses in riddles", "an engine without entropies must say so"),
        ("entropies of doubles", "entropies must be float32"),
        ("entropies too few", "must be an entropy per token"),
        ("entropies below 0", "must be a finite number of at least 0"),
        ("entropies shifted", "at its own place"),
        ("entropies of choices", "must be that of the untempered distribution"),
        ("entropies in bits", "tempered and filtered distribution drawn from"),
    ],
)
def test_an_engine_that_breaks_a_promise(fault, message, models, monkeypatch):
    monkeypatch.setattr("ralo_core.testing.engines._PATIENCE_SECONDS", 1.0)
    with pytest.raises(AssertionError, match=message):
        check_inference_engine(Wrong(fault, models), models[1])


def test_an_engine_may_have_no_entropies_if_it_says_so(models):
    engine = Wrong("", models)
    engine.plain = True
    check_inference_engine(engine, models[1])


def test_the_fake_engine_passes_and_refuses_what_it_must(models):
    check_inference_engine(Wrong("", models), models[1])
    with pytest.raises(RaloError, match="needs a model directory"):
        FakeEngine(None, BuildContext(role="cli"))

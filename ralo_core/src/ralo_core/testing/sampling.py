"""The contract of sampling algorithms, on an engine that writes random tokens and logs requests."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from ralo_core.data import PROMPT, Completion, EngineStats, GenerationRequest, Problem, RolloutTree
from ralo_core.protocols import SamplingAlgorithm, SamplingContext

EOS = 0
_PROMPT = (7, 8, 9)
_MOST = 64


class ScriptedEngine:
    """An engine without a model: ends after each token with probability `p_end`.

    A token's log-prob is ``-token / 1000`` and its entropy ``token / 1000``, so that a check can
    tell what belongs to what.
    """

    def __init__(self, seed: int = 0, p_end: float = 0.1) -> None:
        self.version, self.capacity, self.max_length = 0, 64, 1 << 20
        self.eos_token_ids = frozenset({EOS})
        self.requests: list[GenerationRequest] = []
        self._random, self._p_end, self._decoded = Random(seed), p_end, 0

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        """Answer after giving others the turn; the weight version grows with every call."""
        await asyncio.sleep(0)
        self.requests += requests
        self.version += 1
        return [self._complete(request) for request in requests]

    async def load_weights(self, version: int, directory: Path) -> float:
        """Record the version."""
        self.version = version
        return 0.0

    def stats(self) -> EngineStats:
        """Count requests; between two calls none is in flight."""
        prompt = sum(len(request.prompt) for request in self.requests)
        return EngineStats(
            running=0,
            waiting=0,
            prompt_tokens=prompt,
            cached_tokens=0,
            decoded_tokens=self._decoded,
        )

    async def close(self) -> None:
        """Do nothing."""

    def _complete(self, request: GenerationRequest) -> Completion:
        tokens: list[int] = []
        while len(tokens) < request.max_tokens and (not tokens or tokens[-1] != EOS):
            ends = self._random.random() < self._p_end
            tokens.append(EOS if ends else self._random.randint(1, 999))
        self._decoded += len(tokens)
        return Completion(
            tokens=np.asarray(tokens, np.int32),
            logprobs=(np.asarray(tokens) / -1000).astype(np.float32),
            finish_reason="eos" if tokens[-1] == EOS else "length",
            version=self.version,
            entropies=(np.asarray(tokens) / 1000).astype(np.float32) if request.entropies else None,
        )


def check_sampling_algorithm(algorithm: SamplingAlgorithm) -> None:
    """Check `algorithm` with responses that end early, late and never, many at a time."""
    assert algorithm.max_response_tokens > 0, "max_response_tokens must be a positive number"
    for p_end in (0.02, 0.3, 1.0):
        engine = ScriptedEngine(p_end=p_end)
        for number, tree in enumerate(asyncio.run(_sample_many(algorithm, engine, 5))):
            _check_tree(tree, f"p{number}", algorithm.max_response_tokens)
        _check_requests(engine)


async def _sample_many(
    algorithm: SamplingAlgorithm, engine: ScriptedEngine, count: int
) -> list[RolloutTree]:
    jobs = (
        algorithm.sample(Problem(id=f"p{n}", prompt="x", answer="y"), engine, _context(n))
        for n in range(count)
    )
    return list(await asyncio.gather(*jobs))


def _context(seed: int) -> SamplingContext:
    return SamplingContext(
        prompt=_PROMPT,
        eos_token_ids=frozenset([EOS]),
        temperature=0.9,
        top_p=0.8,
        top_k=5,
        max_tokens=_MOST,
        random=Random(seed),
        decode=lambda tokens: " ".join(map(str, tokens)),
    )


def _check_tree(tree: RolloutTree, problem_id: str, most: int) -> None:
    tree.validate()
    assert tree.problem_id == problem_id, "the tree must carry the id of its problem"
    assert tuple(tree.prompt) == _PROMPT, "the tree must keep the prompt's token ids"
    assert tree.temperature == 0.9, "the tree must carry the temperature it was sampled at"
    for leaf, reason in enumerate(tree.finish_reasons):
        tokens = tree.leaf_tokens(leaf)
        limit = min(most, _MOST)
        assert len(tokens) <= limit, f"a response of {len(tokens)} tokens exceeds {limit}"
        assert EOS not in tokens[:-1], "nothing may follow an end-of-sequence token"
        assert (tokens[-1] == EOS) == (reason == "eos"), (
            "a leaf's finish_reason must be 'eos' exactly where its last token is one"
        )
        expected = tokens.astype(np.float32) / -1000
        assert np.allclose(tree.leaf_logprobs(leaf), expected), (
            "every token must keep the log-prob that the engine gave with it"
        )
    assert (tree.versions > 0).all(), "a segment must carry the version of its completion"
    assert (tree.parents[0] == PROMPT).all(), "the first segment must follow the prompt"


def _check_requests(engine: ScriptedEngine) -> None:
    for request in engine.requests:
        fine = (request.temperature, request.top_p, request.top_k) == (0.9, 0.8, 5)
        assert fine, "requests must use the run's sampling options: make them by context.request()"
        assert request.prompt[: len(_PROMPT)] == _PROMPT, "a request must start with the prompt"

"""One problem from prompt to scored tree: render, sample, score.

It makes no request: who leased the problem and uploads the tree is `in_flight`.
"""

import asyncio
import time
from collections.abc import Mapping
from random import Random
from typing import Any

import attrs
import numpy as np

from ralo_core import Problem, Response, RolloutTree, SamplingContext
from ralo_core.config import GenerationSettings
from ralo_core.errors import RaloError
from ralo_core.protocols import InferenceEngine, Reward, SamplingAlgorithm
from ralo_worker.prompting import Prompting


@attrs.frozen(kw_only=True)
class RolloutPipeline:
    """Everything that turns a problem into a tree. `weights` are the rewards' factors."""

    engine: InferenceEngine
    algorithm: SamplingAlgorithm
    rewards: Mapping[str, Reward]
    weights: Mapping[str, float]
    prompting: Prompting
    tokenizer: Any
    generation: GenerationSettings
    eos_token_ids: frozenset[int]
    max_length: int
    seed: int

    async def sample(self, problem: Problem) -> RolloutTree:
        """Return the tree of `problem`, without rewards."""
        started = time.monotonic()
        tree = await self.algorithm.sample(problem, self.engine, self.context(problem))
        return _timed(tree, sampling=time.monotonic() - started)

    async def score(self, problem: Problem, tree: RolloutTree, lease_id: str) -> RolloutTree:
        """Return `tree` with its rewards, ready to be uploaded under `lease_id`."""
        started = time.monotonic()
        scored = await asyncio.to_thread(self._scored, problem, tree)
        scored = _timed(scored, scoring=time.monotonic() - started)
        return attrs.evolve(scored, lease_id=lease_id).validate()

    def context(self, problem: Problem) -> SamplingContext:
        """Return what the algorithm is given; raises `RaloError` for a prompt that is too long."""
        prompt = self.prompting.render(problem)
        room = self.max_length - len(prompt)
        if room < 1:
            msg = (
                f"problem {problem.id!r}: its prompt of {len(prompt)} tokens does not fit the "
                f"model's context of {self.max_length}"
            )
            raise RaloError(msg)
        return SamplingContext(
            prompt=prompt,
            eos_token_ids=self.eos_token_ids,
            temperature=self.generation.temperature,
            top_p=self.generation.top_p,
            top_k=self.generation.top_k,
            max_tokens=room,
            random=Random(f"{self.seed} {problem.id}"),  # noqa: S311 (needs no secrecy)
            decode=self.decode,
        )

    def decode(self, tokens: Any) -> str:
        """Return the text of token ids, special tokens left out."""
        text: str = self.tokenizer.decode(
            [int(token) for token in tokens], skip_special_tokens=True
        )
        return text

    def response(self, tokens: Any, finish_reason: str) -> Response:
        """Return a response as rewards see it."""
        return Response(text=self.decode(tokens), finish_reason=finish_reason, tokens=len(tokens))

    def _scored(self, problem: Problem, tree: RolloutTree) -> RolloutTree:
        responses = [
            self.response(tree.leaf_tokens(leaf), reason)
            for leaf, reason in enumerate(tree.finish_reasons)
        ]
        parts = {
            name: checked_scores(name, reward.score(problem, responses), len(responses))
            for name, reward in self.rewards.items()
        }
        total = sum(self.weights[name] * part for name, part in parts.items())
        return tree.with_rewards(parts, np.asarray(total, np.float32))


def _timed(tree: RolloutTree, **seconds: float) -> RolloutTree:
    """Return `tree` with `seconds` among its metadata."""
    known = tree.metadata.get("seconds", {})
    return attrs.evolve(tree, metadata={**tree.metadata, "seconds": {**known, **seconds}})


def checked_scores(name: str, scores: Any, count: int) -> Any:
    """Return the scores of reward `name` as float32[count]; raises `RaloError` unless they are
    `count` finite numbers."""
    values = np.asarray(scores, np.float32)
    if values.shape != (count,) or not np.isfinite(values).all():
        msg = (
            f"reward '{name}' must give one finite number for each of {count} responses: {scores!r}"
        )
        raise RaloError(msg)
    return values

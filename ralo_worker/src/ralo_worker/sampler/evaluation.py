"""Evaluation jobs: held-out problems answered greedily by exactly one weight version.

Neighbours: `sampler.runtime` claims jobs and holds the weights still while `answers` runs; `judge`
needs them no more. An answer is correct when the first reward of the pipeline gives it at least 1.
"""

from collections.abc import Sequence

from ralo_core import Completion, GenerationRequest, Problem
from ralo_core.errors import RaloError
from ralo_core.protocols import InferenceEngine
from ralo_worker.sampler.rollouts import Rollouts

CORRECT = 1.0


async def answers(
    rollouts: Rollouts, lane: InferenceEngine, problems: Sequence[Problem], version: int
) -> list[Completion]:
    """Return the greedy answer of weight version `version` to each problem.

    Raises `RaloError` if the engine answered with another version.
    """
    completions = await lane.generate([_greedy(rollouts, problem) for problem in problems])
    others = {done.version for done in completions} - {version}
    if others:
        msg = f"version {version} was to be evaluated, but the engine answered with {others}"
        raise RaloError(msg)
    return completions


def judge(
    rollouts: Rollouts, problems: Sequence[Problem], completions: Sequence[Completion]
) -> list[bool]:
    """Return whether each problem was solved."""
    reward = next(iter(rollouts.rewards.values()))
    return [
        reward.score(problem, [rollouts.answer(done.tokens, done.finish_reason)])[0] >= CORRECT
        for problem, done in zip(problems, completions, strict=True)
    ]


def _greedy(rollouts: Rollouts, problem: Problem) -> GenerationRequest:
    context = rollouts.context(problem)
    most = min(rollouts.algorithm.max_response_tokens, context.max_tokens)
    return GenerationRequest(prompt=context.prompt, max_tokens=most, temperature=0.0)

"""Evaluation jobs: held-out problems answered greedily by exactly one weight version.

Neighbours: `sampler.runtime` claims jobs and holds the weights still. An answer is correct when
the first reward of the pipeline gives it at least 1.
"""

import asyncio
from collections.abc import Sequence

from ralo_core import Completion, GenerationRequest, Problem
from ralo_worker.sampler.rollouts import Rollouts

CORRECT = 1.0


async def evaluate(
    rollouts: Rollouts, problems: Sequence[Problem], max_tokens: int
) -> tuple[list[bool], int]:
    """Return whether each problem was solved, and the tokens decoded."""
    requests = [_greedy(rollouts, problem, max_tokens) for problem in problems]
    completions = await rollouts.engine.generate(requests)
    correct = await asyncio.to_thread(_judge, rollouts, problems, completions)
    return correct, sum(len(completion.tokens) for completion in completions)


def _greedy(rollouts: Rollouts, problem: Problem, max_tokens: int) -> GenerationRequest:
    context = rollouts.context(problem)
    return GenerationRequest(
        prompt=context.prompt, max_tokens=min(max_tokens, context.max_tokens), temperature=0.0
    )


def _judge(
    rollouts: Rollouts, problems: Sequence[Problem], completions: Sequence[Completion]
) -> list[bool]:
    reward = next(iter(rollouts.rewards.values()))
    return [
        reward.score(problem, [rollouts.answer(done.tokens, done.finish_reason)])[0] >= CORRECT
        for problem, done in zip(problems, completions, strict=True)
    ]

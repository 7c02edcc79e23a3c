"""The items of an evaluation job answered by exactly one weight version.

Neighbours: `evaluations` holds the weights still while `answers` runs, `judging` looks at what
comes out. An item that cannot be asked must not cost the others.
"""

import logging
from collections.abc import Iterator, Sequence

import attrs

from ralo_core import Completion, GenerationRequest, Problem
from ralo_core.data import ResponseSettings
from ralo_core.errors import RaloError
from ralo_core.messages.evaluations import EvaluationShard
from ralo_core.protocols import InferenceEngine
from ralo_worker.sampler.rollout_pipeline import Rollouts

log = logging.getLogger(__name__)

Asked = Sequence[Completion] | str
"""The answers to an item, or why it could not be asked."""


async def answers(rollouts: Rollouts, lane: InferenceEngine, job: EvaluationShard) -> list[Asked]:
    """Return what weight version ``job.version`` answers to each item.

    Raises `RaloError` if the engine answered with another version.
    """
    prompting = rollouts.prompting.with_system(job.answering.system)
    asking = attrs.evolve(rollouts, prompting=prompting)
    requests = [_request(asking, problem, job.answering) for problem in job.problems]
    samples = job.answering.samples
    wanted = [request for request in requests if not isinstance(request, str)]
    completions = await lane.generate([request for request in wanted for _ in range(samples)])
    others = {done.version for done in completions} - {job.version}
    if others:
        msg = f"version {job.version} was to be evaluated, but the engine answered with {others}"
        raise RaloError(msg)
    groups = _groups(completions, samples)
    return [request if isinstance(request, str) else next(groups) for request in requests]


def _request(
    rollouts: Rollouts, problem: Problem, answering: ResponseSettings
) -> GenerationRequest | str:
    """Return what asks `problem`, or why nothing can."""
    try:
        context = rollouts.context(problem)
    except Exception as error:  # noqa: BLE001 (a template may be a function of the user's own)
        log.warning("item %s cannot be asked: %s", problem.id, error)
        return str(error) if isinstance(error, RaloError) else f"{type(error).__name__}: {error}"
    most = answering.max_tokens or rollouts.algorithm.max_response_tokens
    return GenerationRequest(
        prompt=context.prompt,
        max_tokens=min(most, context.max_tokens),
        temperature=answering.temperature,
        top_p=answering.top_p,
        top_k=answering.top_k,
    )


def _groups(completions: Sequence[Completion], size: int) -> Iterator[Sequence[Completion]]:
    return (completions[start : start + size] for start in range(0, len(completions), size))

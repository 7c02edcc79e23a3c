"""Asks exactly one weight version for responses to the items of an evaluation shard.

An item that cannot be asked must not cost the others: it gets the reason instead of responses.
"""

import logging
from collections.abc import Iterator, Sequence

import attrs

from ralo_core import Completion, GenerationRequest, Problem
from ralo_core.data import ResponseSettings
from ralo_core.errors import RaloError
from ralo_core.messages.evaluations import EvaluationShard
from ralo_core.protocols import InferenceEngine
from ralo_worker.sampler.rollout_pipeline import RolloutPipeline

log = logging.getLogger(__name__)

Asked = Sequence[Completion] | str
"""The completions of an item, or why it could not be asked."""


async def respond(
    pipeline: RolloutPipeline, share: InferenceEngine, shard: EvaluationShard
) -> list[Asked]:
    """Return the completions of weight version ``shard.version`` for each item.

    Raises `RaloError` if the engine decoded with another version.
    """
    prompting = pipeline.prompting.with_system(shard.response_settings.system)
    asking = attrs.evolve(pipeline, prompting=prompting)
    requests = [_request(asking, problem, shard.response_settings) for problem in shard.problems]
    samples = shard.response_settings.samples
    wanted = [request for request in requests if not isinstance(request, str)]
    completions = await share.generate([request for request in wanted for _ in range(samples)])
    others = {done.version for done in completions} - {shard.version}
    if others:
        msg = f"version {shard.version} was to be evaluated, but the engine decoded with {others}"
        raise RaloError(msg)
    groups = _groups(completions, samples)
    return [request if isinstance(request, str) else next(groups) for request in requests]


def _request(
    pipeline: RolloutPipeline, problem: Problem, settings: ResponseSettings
) -> GenerationRequest | str:
    """Return what asks `problem`, or why nothing can."""
    try:
        context = pipeline.context(problem)
    except Exception as error:  # noqa: BLE001 (a template may be a function of the user's own)
        log.warning("item %s cannot be asked: %s", problem.id, error)
        return str(error) if isinstance(error, RaloError) else f"{type(error).__name__}: {error}"
    most = settings.max_tokens or pipeline.algorithm.max_response_tokens
    return GenerationRequest(
        prompt=context.prompt,
        max_tokens=min(most, context.max_tokens),
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
    )


def _groups(completions: Sequence[Completion], size: int) -> Iterator[Sequence[Completion]]:
    return (completions[start : start + size] for start in range(0, len(completions), size))

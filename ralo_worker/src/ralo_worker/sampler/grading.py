"""Which responses of an evaluation are correct. The shard names a reward component that decides it.

A grader that fails on one item must not cost the others: the item counts as wrong, with the reason.
"""

import logging
from collections.abc import Mapping, Sequence

import attrs

from ralo_core import BuildContext, Completion, Problem
from ralo_core.config import Config
from ralo_core.data import ItemResponses
from ralo_core.messages.evaluations import EvaluationShard
from ralo_core.protocols import Reward
from ralo_worker.sampler.responding import Asked
from ralo_worker.sampler.rollout_pipeline import RolloutPipeline, checked_scores

log = logging.getLogger(__name__)

CORRECT = 1.0
"""A response with this score, or a higher one, is correct."""


@attrs.define
class Graders:
    """Reward components by name, each with the run's settings of it, made when first asked for.

    Those that also score rollouts, `rewards`, are there already.
    """

    config: Config
    context: BuildContext
    rewards: Mapping[str, Reward]
    _made: dict[str, Reward] = attrs.field(factory=dict, init=False)

    def get(self, name: str) -> Reward:
        """Return the grader `name`; raises `RaloError` naming it where it cannot be made here."""
        if name in self.rewards:
            return self.rewards[name]
        if name not in self._made:
            self._made[name] = self.config.build_named("reward", name, self.context)
        return self._made[name]


def graded(
    pipeline: RolloutPipeline, grader: Reward, shard: EvaluationShard, asked: Sequence[Asked]
) -> list[ItemResponses]:
    """Return the responses to each item of `shard`, each graded by `grader`."""
    return [
        ItemResponses.without(shard.response_settings.samples, found)
        if isinstance(found, str)
        else _item(pipeline, grader, shard, problem, found)
        for problem, found in zip(shard.problems, asked, strict=True)
    ]


def _item(
    pipeline: RolloutPipeline,
    grader: Reward,
    shard: EvaluationShard,
    problem: Problem,
    found: Sequence[Completion],
) -> ItemResponses:
    responses = [pipeline.response(done.tokens, done.finish_reason) for done in found]
    correct, reason = (False,) * len(responses), ""
    try:
        scores = grader.score(problem, responses)
        scores = checked_scores(shard.response_settings.grader, scores, len(responses))
        correct = tuple(bool(score >= CORRECT) for score in scores)
    except Exception as error:  # noqa: BLE001 (graders are plugins)
        log.warning("the responses to %s cannot be graded", problem.id, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
    return ItemResponses(
        texts=tuple(response.text for response in responses),
        correct=correct,
        tokens=tuple(response.tokens for response in responses),
        finish_reasons=tuple(response.finish_reason for response in responses),
        reason=reason,
    )

"""Which answers of an evaluation are correct: the job's judge says so, a reward component.

Neighbours: `answering` has the answers, `evaluations` hands in what comes out. A judge that fails
on an answer must not cost the others: the item counts as answered wrong, with the reason.
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
from ralo_worker.sampler.rollout_pipeline import Rollouts, checked_scores

log = logging.getLogger(__name__)

CORRECT = 1.0
"""What a judge gives to a correct answer, or more."""


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
        """Return a judge; raises `RaloError` naming it where it cannot be made here."""
        if name in self.rewards:
            return self.rewards[name]
        if name not in self._made:
            self._made[name] = self.config.build_named("reward", name, self.context)
        return self._made[name]


def judged(
    rollouts: Rollouts, judge: Reward, job: EvaluationShard, asked: Sequence[Asked]
) -> list[ItemResponses]:
    """Return the answers to each item of `job` with what `judge` says of them."""
    return [
        ItemResponses.without(job.answering.samples, found)
        if isinstance(found, str)
        else _item(rollouts, judge, job, problem, found)
        for problem, found in zip(job.problems, asked, strict=True)
    ]


def _item(
    rollouts: Rollouts,
    judge: Reward,
    job: EvaluationShard,
    problem: Problem,
    found: Sequence[Completion],
) -> ItemResponses:
    answers = [rollouts.answer(done.tokens, done.finish_reason) for done in found]
    correct, reason = (False,) * len(answers), ""
    try:
        scores = checked_scores(job.answering.judge, judge.score(problem, answers), len(answers))
        correct = tuple(bool(score >= CORRECT) for score in scores)
    except Exception as error:  # noqa: BLE001 (judges are plugins)
        log.warning("answers to %s cannot be judged", problem.id, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
    return ItemResponses(
        texts=tuple(answer.text for answer in answers),
        correct=correct,
        tokens=tuple(answer.tokens for answer in answers),
        finish_reasons=tuple(answer.finish_reason for answer in answers),
        reason=reason,
    )

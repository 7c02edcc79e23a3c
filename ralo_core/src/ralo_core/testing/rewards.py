"""The contract of rewards: one finite number per answer, whatever the answer is."""

import math
from collections.abc import Sequence
from numbers import Real

from ralo_core.data import Problem, Response
from ralo_core.protocols import Reward

_PROBLEM = Problem(id="p", prompt="What is 1+1?", answer="2")
_TEXTS = ("2", "", r"so \boxed{2}", "#2", "두 개입니다 🙂", "{" * 50, "x" * 5000, "2")


def check_reward(
    reward: Reward, problem: Problem = _PROBLEM, texts: Sequence[str] = _TEXTS
) -> None:
    """Check `reward` on answers of `texts` to `problem`."""
    answers = [Response(text=text, finish_reason="eos", tokens=len(text)) for text in texts]
    scores = list(reward.score(problem, answers))
    assert len(scores) == len(answers), (
        f"score() must return one number per answer: {len(scores)} for {len(answers)}"
    )
    for text, value in zip(texts, scores, strict=True):
        number: object = value
        fine = isinstance(number, Real) and math.isfinite(number)
        assert fine, f"a score must be a finite number, got {value!r} for {text[:40]!r}"
    backwards = list(reward.score(problem, answers[::-1]))
    assert backwards[::-1] == scores, "a score must not depend on the order of the answers"
    assert list(reward.score(problem, [])) == [], "no answers must give no scores"

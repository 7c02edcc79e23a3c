"""The contract of rewards: one finite number per response, whatever it says."""

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
    """Check `reward` on responses of `texts` to `problem`."""
    responses = [Response(text=text, finish_reason="eos", tokens=len(text)) for text in texts]
    scores = list(reward.score(problem, responses))
    assert len(scores) == len(responses), (
        f"score() must return one number per response: {len(scores)} for {len(responses)}"
    )
    for text, value in zip(texts, scores, strict=True):
        number: object = value
        fine = isinstance(number, Real) and math.isfinite(number)
        assert fine, f"a score must be a finite number, got {value!r} for {text[:40]!r}"
    backwards = list(reward.score(problem, responses[::-1]))
    assert backwards[::-1] == scores, "a score must not depend on the order of the responses"
    assert list(reward.score(problem, [])) == [], "no responses must give no scores"

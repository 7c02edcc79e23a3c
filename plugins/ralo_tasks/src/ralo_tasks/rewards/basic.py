"""The rewards that need no dependency: `arithmetic`, `exact`, `format`, `overlong` and `function`.

The sampler calls `score` once per problem, with all responses to it, and adds up the scores of the
pipeline's rewards with the factors of ``[reward.weights]``. These rewards see text, never tokens.
"""

import math
import re
from collections.abc import Sequence
from numbers import Real

import attrs

from ralo_core.components import BuildContext
from ralo_core.config.checks import positive, regex
from ralo_core.config.setting import setting
from ralo_core.data import Problem, Response
from ralo_core.errors import RaloError
from ralo_core.texts import normalised
from ralo_core.user_functions import import_function
from ralo_tasks.arithmetic import verify
from ralo_tasks.final_answer import item_answer, item_reference, says_how


class ArithmeticReward:
    """1 if the number behind the last ``#`` is the sum."""

    def __init__(self, settings: None, context: BuildContext) -> None:
        """Take no options."""

    def score(self, problem: Problem, answers: Sequence[Response]) -> list[float]:
        """Return 1 or 0 per answer."""
        return [float(verify(answer.text, problem.answer)) for answer in answers]


@attrs.frozen(kw_only=True)
class ExactSettings:
    """``[reward.exact]``: what is compared with the reference, and how strictly."""

    pattern: str = setting(
        "", "regex that takes the answer (group 1) out of the text, last match; empty: all", regex
    )
    ignore_case: bool = setting(False, "let upper and lower case be equal")
    strip: bool = setting(True, "ignore white space around both texts")


class ExactReward:
    """1 if the answer equals the reference; a text without a match of `pattern` gets 0.

    An item of a benchmark says itself how its answer is taken out of a text: such are compared
    in its way, `normalised`, whatever the options are that the run trains with.
    """

    def __init__(self, settings: ExactSettings, context: BuildContext) -> None:
        self._settings = settings
        self._pattern = re.compile(settings.pattern) if settings.pattern else None

    def score(self, problem: Problem, answers: Sequence[Response]) -> list[float]:
        """Return 1 or 0 per answer."""
        if says_how(problem):
            reference = normalised(item_reference(problem))
            found = [normalised(item_answer(problem, answer.text)) for answer in answers]
            return [float(text == reference) for text in found]
        reference = self._normal(problem.answer)
        return [float(self._extracted(answer.text) == reference) for answer in answers]

    def _extracted(self, text: str) -> str | None:
        if self._pattern is None:
            return self._normal(text)
        matches = list(self._pattern.finditer(text))
        if not matches:
            return None
        found = matches[-1].group(1 if self._pattern.groups else 0)
        return None if found is None else self._normal(found)

    def _normal(self, text: str) -> str:
        text = text.strip() if self._settings.strip else text
        return text.casefold() if self._settings.ignore_case else text


@attrs.frozen(kw_only=True)
class FormatSettings:
    """``[reward.format]``: the form that a response must have."""

    pattern: str = setting(
        r".*\\boxed\{.+\}.*", "regex that the whole response must match; '.' takes newlines", regex
    )


class FormatReward:
    """1 if the whole response matches the pattern."""

    def __init__(self, settings: FormatSettings, context: BuildContext) -> None:
        self._pattern = re.compile(settings.pattern, re.DOTALL)

    def score(self, problem: Problem, answers: Sequence[Response]) -> list[float]:
        """Return 1 or 0 per answer."""
        return [float(self._pattern.fullmatch(answer.text) is not None) for answer in answers]


@attrs.frozen(kw_only=True)
class OverlongSettings:
    """``[reward.overlong]``: what is too long."""

    max_tokens: int = setting(7168, "tokens of a response from which on it gets -1", positive)
    buffer_tokens: int = setting(512, "tokens before that over which it falls from 0", positive)


class OverlongReward:
    """Soft overlong punishment, DAPO (Yu et al. 2025), equation 13: 0 up to ``max - buffer``
    tokens, then a straight line to -1 at `max_tokens`."""

    def __init__(self, settings: OverlongSettings, context: BuildContext) -> None:
        self._settings = settings

    def score(self, problem: Problem, answers: Sequence[Response]) -> list[float]:
        """Return a number in [-1, 0] per answer."""
        most, buffer = self._settings.max_tokens, self._settings.buffer_tokens
        return [-min(max(answer.tokens - most + buffer, 0) / buffer, 1.0) for answer in answers]


@attrs.frozen(kw_only=True)
class FunctionSettings:
    """``[reward.function]``: the function to call."""

    path: str = setting("", "'module:function', called with (problem, answers) -> list of floats")


class FunctionReward:
    """Any function of the user's own: ``function(problem, answers) -> list of floats``."""

    def __init__(self, settings: FunctionSettings, context: BuildContext) -> None:
        self._path = settings.path
        self._function = import_function(settings.path, "reward.function.path")

    def score(self, problem: Problem, answers: Sequence[Response]) -> list[float]:
        """Return what the function says; raises `RaloError` if it is not a number per answer."""
        scores = list(self._function(problem, answers))
        fine = all(isinstance(score, Real) and math.isfinite(score) for score in scores)
        if len(scores) != len(answers) or not fine:
            msg = (
                f"reward function {self._path} must return one finite number for each of the "
                f"{len(answers)} answers of problem {problem.id!r}, got {scores!r}"
            )
            raise RaloError(msg)
        return [float(score) for score in scores]

"""The `choice` reward: whether an answer chooses the letter of the reference.

`ralo_tasks.final_answer.letter` knows in which forms a response may say it.
"""

from collections.abc import Sequence

import attrs

from ralo_core.components import BuildContext
from ralo_core.config.checks import capital_letters
from ralo_core.config.setting import setting
from ralo_core.data import Problem, Response
from ralo_core.texts import letter_of
from ralo_tasks.final_answer import LETTERS, final_letter
from ralo_tasks.final_answer.item import letters


@attrs.frozen(kw_only=True)
class ChoiceSettings:
    """``[reward.choice]``: what can be chosen."""

    letters: str = setting(
        LETTERS,
        "letters of the choices, where a problem's metadata have no 'letters'",
        capital_letters,
    )


class ChoiceReward:
    r"""1 if the answer chooses the reference's letter: ``\boxed{B}``, "Answer: B", "(B)"."""

    def __init__(self, settings: ChoiceSettings, context: BuildContext) -> None:
        self._letters = settings.letters

    def score(self, problem: Problem, answers: Sequence[Response]) -> list[float]:
        """Return 1 or 0 per answer; all 0 where the reference is no letter."""
        reference, among = letter_of(problem.answer), letters(problem, self._letters)
        chosen = [final_letter(answer.text, among) for answer in answers]
        return [float(letter is not None and letter == reference) for letter in chosen]

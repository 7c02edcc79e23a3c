"""The `choice` reward: whether a response chooses the letter of the reference answer."""

from collections.abc import Sequence

import attrs

from ralo_core import BuildContext, Problem, Response, capital_letters, letter_of, setting
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
    r"""1 if the response chooses the reference's letter: ``\boxed{B}``, "Answer: B", "(B)"."""

    def __init__(self, settings: ChoiceSettings, context: BuildContext) -> None:
        self._letters = settings.letters

    def score(self, problem: Problem, responses: Sequence[Response]) -> list[float]:
        """Return 1 or 0 per response; all 0 where the reference answer is no letter."""
        reference, among = letter_of(problem.answer), letters(problem, self._letters)
        chosen = [final_letter(response.text, among) for response in responses]
        return [float(letter is not None and letter == reference) for letter in chosen]

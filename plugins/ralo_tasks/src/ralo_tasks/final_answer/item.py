"""How the answer to an item of a benchmark is taken out of a text: as the item itself says.

A benchmark writes this into an item's metadata (`how_to_answer`). The `exact` and `choice` rewards
of samplers and the votes of the orchestrator read it there (`item_answer`), so that the same text
is graded, counted and shown.
"""

from typing import Any

from ralo_core.data import Problem
from ralo_core.texts import letter_of
from ralo_tasks.final_answer.extraction import EXTRACTIONS, extract
from ralo_tasks.final_answer.letter import LETTERS


def how_to_answer(how: str, letters: str = LETTERS) -> dict[str, Any]:
    """Return the metadata of an item whose answers `extract` takes out in the way `how`."""
    return {"extract": how, "letters": letters} if how == "choice" else {"extract": how}


def says_how(problem: Problem) -> bool:
    """Say whether `problem` is an item that has such metadata."""
    return problem.metadata.get("extract") in EXTRACTIONS


def item_answer(problem: Problem, text: str) -> str:
    """Return the final answer in `text`, "" where there is none; all of it where `problem` does
    not say how it is found."""
    return extract(_how(problem), text, letters(problem))


def item_reference(problem: Problem) -> str:
    """Return the reference as `item_answer` writes an answer that equals it: ``025`` as ``25``
    where answers are numbers."""
    how = _how(problem)
    if how == "choice":
        return letter_of(problem.answer) or problem.answer
    if how == "whole":
        return problem.answer.strip()
    return extract(how, rf"\boxed{{{problem.answer}}}") or problem.answer


def letters(problem: Problem, default: str = LETTERS) -> str:
    """Return the letters that can be chosen in `problem`; `default` where it does not say."""
    found = problem.metadata.get("letters")
    return found if isinstance(found, str) and found.isalpha() else default


def _how(problem: Problem) -> str:
    return str(problem.metadata["extract"]) if says_how(problem) else "whole"

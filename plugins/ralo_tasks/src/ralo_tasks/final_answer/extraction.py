r"""Takes the final answer out of a text, in the way that a benchmark names."""

import re

from ralo_tasks.final_answer.boxed import last_boxed
from ralo_tasks.final_answer.letter import LETTERS, final_letter
from ralo_tasks.final_answer.number import last_number, plain_number

EXTRACTIONS = ("boxed", "number", "choice", "whole")
"""``boxed``: the last box, without one the last number; ``number``: the last number, in the last
box or in the line behind the last ``####`` where there is one; ``choice``: a letter; ``whole``:
all."""

_SPACES = re.compile(r"\s+")


def extract(how: str, text: str, letters: str = LETTERS) -> str:
    """Return the final answer in `text`, "" where there is none; `how` is one of `EXTRACTIONS`,
    `letters` are what ``choice`` can choose."""
    if how == "choice":
        return final_letter(text, letters) or ""
    if how == "whole":
        return text.strip()
    boxed = last_boxed(text)
    if how == "number":
        _, mark, tail = text.rpartition("####")
        line = tail.strip().partition("\n")[0] if mark else text
        return last_number(line if boxed is None else boxed) or ""
    if boxed is None:
        return last_number(text) or ""
    content = _SPACES.sub(" ", boxed.replace("$", "")).strip()
    return plain_number(content) or content

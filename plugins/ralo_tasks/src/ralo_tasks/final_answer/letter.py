r"""The letter that an answer to a multiple-choice question chooses.

Prose is full of letters that choose nothing, the article "A" and the pronoun "I" above all: only
the forms below count.
"""

import re
from functools import cache

from ralo_core.texts import ALONE, letter_of
from ralo_tasks.final_answer.boxed import last_boxed

LETTERS = "ABCDEFGHIJ"
"""What can be chosen where a question does not say."""


def final_letter(text: str, letters: str = LETTERS) -> str | None:
    r"""Return which of `letters` the answer `text` chooses, None if it chooses none.

    The first of these that there is, the last of its kind: ``\boxed{B}``; "Answer: B", "the
    answer is (B)" and the like; a last line that is the letter; "(B)".
    """
    boxed = last_boxed(text)
    if boxed is not None and (letter := letter_of(boxed)) and letter in letters:
        return letter
    said = _last(_answer_phrase(letters), text)
    if said:
        return said
    line = ALONE.fullmatch(text.rstrip().rpartition("\n")[2])
    if line and line[1].upper() in letters:
        return line[1].upper()
    return _last(_in_parentheses(letters), text)


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = None
    for found in pattern.finditer(text):  # noqa: B007 (the last one counts)
        pass
    return found[1] if found else None


@cache
def _answer_phrase(letters: str) -> re.Pattern[str]:
    """Return the pattern of "the answer ... is B".

    Behind the letter comes the end of the line or a mark; only letters that are no words of
    English may be followed by a word, and "A" by a reason. "B or C" chooses nothing. All
    repetitions are bounded, so that a text that repeats itself costs no more than its length.
    """
    ends = r"\s*(?:$|[.,;:)\]}*$!?\\<_`]|[\"'](?!\w))"
    words = "".join(letter for letter in letters if letter not in "AI")
    word = rf"(?<=[{words}])\s" if words else "(?!)"
    return re.compile(
        r"\b(?i:answer|(?:correct|right|best)\s{1,3}(?:option|choice|letter))\b"
        r"(?:[^.:\n]{0,40}?\b(?i:is|be))?"
        r"(?:[\s:=*_`\"'(\[{$]|(?i:option|choice|letter)|\\(?:text|textbf|mathrm|mathbf)\b){1,12}"
        rf"(?<![A-Za-z])([{letters}])"
        rf"(?:(?={ends})|(?={word})|(?=\s(?:because|since)\b))"
        r"(?![)\]}*]{0,3}\s?(?:,|/|or\b|and\b)\s?\(?[A-Z]\b)",
        re.MULTILINE,
    )


@cache
def _in_parentheses(letters: str) -> re.Pattern[str]:
    return re.compile(rf"\(([{letters}])\)")

"""Two readings of a short text that graders and metrics share: its normal form, and its letter.

They lie in core because samplers grade by them (rewards) and the orchestrator counts by them
(metrics), and what is graded and what is counted must agree.
"""

import re
import unicodedata

_SPACES = re.compile(r"\s+")
_AROUND = " \t\n\"'`*$"

_WRAPPED = r"(?:[\s($*\[{\"'`_]|\\(?:text|textbf|mathrm|mathbf|bf|rm)\b)*"
_CLOSED = r"[\s)$*\]}\"'`_.]*"
_ALONE = re.compile(rf"{_WRAPPED}([A-Za-z]){_CLOSED}")
_LABEL = re.compile(rf"{_WRAPPED}([A-Za-z])\s*[).:\]].*", re.DOTALL)


def normalised(text: str) -> str:
    """Return `text` without differences that mean nothing: case, forms of one character (NFKC),
    white space, quotes and stars around it, a mark at the end."""
    text = _SPACES.sub(" ", unicodedata.normalize("NFKC", text)).casefold()
    return text.strip(_AROUND).rstrip(".,;:" + _AROUND)


def lone_letter(text: str) -> str | None:
    """Return the capital letter that `text` is, whatever markup is around it; None for a text that
    has anything else."""
    found = _ALONE.fullmatch(text)
    return found[1].upper() if found else None


def letter_of(text: str) -> str | None:
    r"""Return the capital letter that `text` is, or begins with as the label of a choice: ``B``,
    ``(b)``, ``\text{B}``, ``B. Paris``; None where it is anything else."""
    found = _ALONE.fullmatch(text) or _LABEL.fullmatch(text)
    return found[1].upper() if found else None

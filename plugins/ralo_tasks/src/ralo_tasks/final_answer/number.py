"""The last number of a text, written in one way."""

import re
from decimal import Decimal

_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
_IN_TEXT = re.compile(rf"(?<![\w.])(?:(?<![)\]}}])[-\u2212])?(?:{_NUMBER})")
_ALONE = re.compile(rf"[-+\u2212]?(?:{_NUMBER})")


def last_number(text: str) -> str | None:
    """Return the last number of `text` as `plain_number` writes it, None if there is none.

    A minus belongs to it unless it stands behind what something can be subtracted from.
    """
    found = None
    for found in _IN_TEXT.finditer(text):  # noqa: B007 (the last one counts)
        pass
    return None if found is None else _written(found[0])


def plain_number(text: str) -> str | None:
    """Return a text that is a number and nothing else without thousands' commas and needless
    zeros (``1,000.50`` is ``1000.5``, ``025`` is ``25``); None for any other text."""
    return _written(text) if _ALONE.fullmatch(text) else None


def _written(number: str) -> str:
    value = Decimal(number.replace(",", "").replace("\u2212", "-"))
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text

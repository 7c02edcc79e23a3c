"""Validators for fields of attrs classes, with messages that say the bound."""

import re
from collections.abc import Callable
from typing import Any

import attrs

Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def positive(_: Any, attribute: "attrs.Attribute[Any]", value: float) -> None:
    """Refuse numbers that are not above 0."""
    if not value > 0:
        msg = f"must be above 0, got {value!r}"
        raise ValueError(msg)


def at_least(bound: float) -> Check:
    """Return a validator that refuses numbers below `bound`."""

    def check(_: Any, attribute: "attrs.Attribute[Any]", value: float) -> None:
        if not value >= bound:
            msg = f"must be at least {bound}, got {value!r}"
            raise ValueError(msg)

    return check


def between(low: float, high: float) -> Check:
    """Return a validator that refuses numbers outside ``[low, high]``."""

    def check(_: Any, attribute: "attrs.Attribute[Any]", value: float) -> None:
        if not low <= value <= high:
            msg = f"must lie in [{low}, {high}], got {value!r}"
            raise ValueError(msg)

    return check


def one_of(*choices: str) -> Check:
    """Return a validator that accepts the given words only."""

    def check(_: Any, attribute: "attrs.Attribute[Any]", value: str) -> None:
        if value not in choices:
            msg = f"must be one of {', '.join(map(repr, choices))}, got {value!r}"
            raise ValueError(msg)

    return check


def regex(_: Any, attribute: "attrs.Attribute[Any]", value: str) -> None:
    """Refuse what is not a regular expression."""
    try:
        re.compile(value)
    except re.error as error:
        msg = f"{value!r} is not a regular expression: {error}"
        raise ValueError(msg) from error


def capital_letters(_: Any, attribute: "attrs.Attribute[Any]", value: str) -> None:
    """Refuse what is not a row of capital letters."""
    if not (value.isascii() and value.isalpha() and value.isupper()):
        msg = f"must be capital letters, e.g. 'ABCD', got {value!r}"
        raise ValueError(msg)

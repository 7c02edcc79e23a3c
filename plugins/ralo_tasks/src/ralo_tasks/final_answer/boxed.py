r"""Finds the last ``\boxed{...}`` of a text, braces inside it matched."""

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
r"""A brace, or an escaped character, which is none."""


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last whole box, None if there is none; ``\{`` is no brace.

    One pass, whatever the text: models write ``\boxed{`` thousands of times on end.
    """
    boxes = {match.end() for match in _BOX.finditer(text)}
    unclosed: list[int] = []
    start, end = -1, -1
    for match in _BRACE.finditer(text) if boxes else ():
        if match[0] == "{":
            unclosed.append(match.end())
        elif match[0] == "}" and unclosed:
            opened = unclosed.pop()
            if opened in boxes and opened > start:
                start, end = opened, match.start()
    return None if start < 0 else text[start:end]

r"""Finds the last ``\boxed{...}`` of a text, braces inside it matched.

Neighbours: `judge` compares what is in the box. Plain text in, plain text out.
"""

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last whole box, None if there is none; ``\{`` is no brace."""
    for start in reversed([match.end() for match in _BOX.finditer(text)]):
        end = _closing_brace(text, start)
        if end is not None:
            return text[start:end]
    return None


def _closing_brace(text: str, start: int) -> int | None:
    depth, position = 1, start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1  # whatever follows is escaped
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return position
        position += 1
    return None

r"""Whether the text of a path says that it is over: a boxed answer, or a loop.

A segment ends where its tokens do, not where words do, so ``\boxed{`` may begin in one and close
in the next. Read once, what may still matter is carried along the path.
"""

from collections import Counter

import attrs

_BOXED = r"\boxed{"
_WINDOW, _TIMES = 32, 8
_CARRIED = _WINDOW * _TIMES
"""Characters of the text before that count for a loop: it shows within so many."""


@attrs.frozen
class Read:
    r"""What was read of a path: `open`, a ``\boxed{`` not yet closed with all behind it, or the
    last characters that may become one, and `recent`, the end of the text; whether it is over."""

    open: str
    recent: str
    boxed: bool = False
    repeats: bool = False


NOTHING_READ = Read("", "")


def read_on(before: Read, text: str) -> Read:
    """Return what is known after `text`, which follows what `before` has read."""
    boxed, rest = _boxed(before.open + text)
    recent = before.recent + text
    return Read(rest, recent[-_CARRIED:], boxed, _repeats(recent))


def _boxed(text: str) -> tuple[bool, str]:
    r"""Say whether `text` has a complete ``\boxed{...}``; if not, return what may become one."""
    unclosed = -1
    start = text.find(_BOXED)
    while start >= 0:
        inner = start + len(_BOXED)
        end = _closing(text, inner)
        if text[inner:end].strip() and end >= 0:  # an empty box is no answer
            return True, ""
        if end < 0 and unclosed < 0:
            unclosed = start
        start = text.find(_BOXED, inner)
    return False, text[unclosed:] if unclosed >= 0 else text[-(len(_BOXED) - 1) :]


def _closing(text: str, start: int) -> int:
    """Return where the brace that is open at `start` closes, -1 if it does not."""
    depth = 1
    for index in range(start, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if not depth:
            return index
    return -1


def _repeats(text: str) -> bool:
    """Say whether some window of 32 characters occurs 8 times (the release's test)."""
    windows = Counter(text[i : i + _WINDOW] for i in range(len(text) - _WINDOW + 1))
    return bool(windows) and max(windows.values()) >= _TIMES

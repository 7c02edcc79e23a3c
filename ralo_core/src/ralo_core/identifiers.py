"""What a worker, a lease, a batch, an upload or an evaluation shard may be called.

Some of these names become file names on the orchestrator: none may hold a separator, begin with a
dot or be longer than a file name.
"""

import re
from typing import Any

import attrs

_IDENTIFIER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")

RULE = "up to 128 letters, digits, '-', '_' and '.', not beginning with '.'"


def is_identifier(text: str) -> bool:
    """Say whether `text` may name something."""
    return _IDENTIFIER.fullmatch(text) is not None


def identifier(_: Any, attribute: "attrs.Attribute[Any]", value: str) -> None:
    """Refuse what is no identifier; an attrs validator."""
    if not is_identifier(value):
        msg = f"an identifier is {RULE}, got {value[:40]!r}"
        raise ValueError(msg)

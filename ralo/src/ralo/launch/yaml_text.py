"""Plain data as YAML that people can read, and every YAML parser.

It knows no Kubernetes and only writes. Strings are written as in JSON, which YAML reads the same,
or as blocks where they have several lines.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""What YAML reads as something else than a string."""

_BLOCK = re.compile(r"[ -~][ -~\n]*\n")
"""Lines of printable ASCII that do not begin with a blank one and end with a line break."""
_JSON_ESCAPES = 0xFFFF


def to_yaml(documents: Sequence[Any]) -> str:
    """Return `documents`, made of dicts, lists, strings, numbers and booleans, as YAML."""
    return "".join(f"---\n{_text(document)}" for document in documents)


def _text(document: Any) -> str:
    return "".join(f"{line}\n" for line in _lines(document))


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _entry(f"{_key(key)}:", item)
    elif isinstance(value, list) and value:
        for item in value:
            first, *rest = _lines(item)
            yield f"- {first}"
            yield from (f"  {line}" if line else "" for line in rest)
    elif isinstance(value, str) and _is_block(value):
        yield "|"
        yield from (f"  {line}" if line else "" for line in value[:-1].split("\n"))
    else:
        yield _scalar(value)


def _entry(head: str, value: Any) -> Iterator[str]:
    lines = list(_lines(value))
    if isinstance(value, Mapping | list) and value:
        yield head
        yield from (f"  {line}" if line else "" for line in lines)
    else:
        yield f"{head} {lines[0]}"
        yield from lines[1:]


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    # JSON writes what is beyond 16 bits as two escapes, YAML as one.
    parts = (
        f"\\U{ord(letter):08X}" if ord(letter) > _JSON_ESCAPES else json.dumps(letter)[1:-1]
        for letter in value
    )
    return f'"{"".join(parts)}"'


def _key(key: str) -> str:
    plain = _PLAIN_KEY.fullmatch(key) and key.lower() not in _WORDS
    return key if plain else _scalar(key)


def _is_block(text: str) -> bool:
    return bool(_BLOCK.fullmatch(text)) and not re.search(r"^ |\n\n$", text)

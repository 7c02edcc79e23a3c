"""Field mapping: from one record of any data set to the prompt, answer and metadata of a problem.

A record is a mapping here; where it comes from and which one is next is decided elsewhere.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ralo_core.errors import DataError

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


@attrs.frozen(kw_only=True)
class FieldMapping:
    """Which fields make a problem.

    A field is a name or a dotted path (``reward_model.ground_truth``, ``answers.0``); with
    braces it is a template (``{context} {question}``). `answer_pattern` takes the reference
    out of a longer text: group 1, or the whole, of its last match.
    """

    prompt_field: str
    answer_field: str
    answer_pattern: str = ""
    metadata_fields: Sequence[str] = ()

    def prompt(self, record: Mapping[str, Any]) -> str | list[Mapping[str, str]]:
        """Return the prompt as text, or as chat messages where the field holds such a list."""
        if "{" not in self.prompt_field:
            value = look_up(record, self.prompt_field)
            if _is_messages(value):
                return list(value)
        return self._text(record, self.prompt_field)

    def answer(self, record: Mapping[str, Any]) -> str:
        """Return the reference answer; raises `DataError` if the pattern does not match."""
        text = self._text(record, self.answer_field)
        if not self.answer_pattern:
            return text
        match = None
        for match in re.finditer(self.answer_pattern, text):  # noqa: B007 (the last one counts)
            pass
        if match is None:
            msg = f"answer_pattern {self.answer_pattern!r} does not match the answer {text[-80:]!r}"
            raise DataError(msg)
        return str(match.group(1 if match.re.groups else 0)).strip()

    def metadata(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that travel with the problem, as they are: they must be JSON."""
        facts = {path: look_up(record, path) for path in self.metadata_fields}
        try:
            json.dumps(facts, allow_nan=False)
        except (TypeError, ValueError) as error:
            msg = f"metadata_fields {list(facts)} cannot be sent as JSON: {error}"
            raise DataError(msg) from error
        return facts

    def _text(self, record: Mapping[str, Any], field: str) -> str:
        if "{" in field:
            return _PLACEHOLDER.sub(lambda found: to_text(look_up(record, found[1])), field)
        text = to_text(look_up(record, field))
        if not text:
            msg = f"field '{field}' is empty"
            raise DataError(msg)
        return text


def look_up(record: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path; raises `DataError` naming the fields that exist."""
    if path in record:
        return record[path]
    value: Any = record
    for key in path.split("."):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, Sequence) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            msg = f"there is no field '{path}'; fields: {', '.join(map(str, record)) or 'none'}"
            raise DataError(msg)
    return value


def to_text(value: Any) -> str:
    """Return a value as text: whole floats without a fraction, lists joined by ``, ``."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list | tuple):
        return ", ".join(map(to_text, value))
    return str(value)


def _is_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, Mapping) and {"role", "content"} <= set(item) for item in value)
    )

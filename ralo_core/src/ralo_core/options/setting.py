"""`setting`: a field of a settings class with its help text, for core's sections and plugins'."""

from typing import Any

import attrs


def setting(default: Any, text: str, *checks: Any) -> Any:
    """Return an attrs field with its help text, shown by ``ralo config explain``."""
    mutable = isinstance(default, list | dict)
    options: dict[str, Any] = {"factory": default.copy} if mutable else {"default": default}
    return attrs.field(metadata={"help": text}, validator=list(checks) or None, **options)


def with_default(cls: type, name: str, default: Any) -> Any:
    """Return the setting `name` of `cls` with another default, for a class that inherits it."""
    field = attrs.fields_dict(cls)[name]
    checks = [field.validator] if field.validator else []
    return setting(default, field.metadata["help"], *checks)

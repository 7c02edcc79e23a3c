"""cattrs set up once for the whole project: strict scalars, no extra keys, all errors at once.

Whatever comes as plain data is structured here: settings, messages, JSON bodies. cattrs by itself
turns "8" into 8 and true into 1, and stops at the first attrs validator that refuses, without the
name of its field.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override

from ralo_core.errors import ConfigError, nearest

T = TypeVar("T")


def _scalar(value: Any, kind: type) -> Any:
    wanted = {float: (int, float), Path: (str, Path)}.get(kind, (kind,))
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        msg = f"expected {kind.__name__}, got {value!r}"
        raise TypeError(msg)
    return kind(value)


def _union(value: Any, union: Any) -> Any:
    """Take the first member that accepts the value; None only for None."""
    members, messages = get_args(union), []
    if value is None and type(None) in members:
        return None
    for member in members:
        if member is type(None):
            continue
        try:
            return _converter.structure(value, member)
        except (TypeError, ValueError, cattrs.BaseValidationError) as error:
            messages.append(str(error))
    raise TypeError(messages[-1])


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in (int, float, str, bool, Path):
        converter.register_structure_hook(kind, _scalar)
    converter.register_structure_hook_func(_is_union, _union)
    converter.register_structure_hook_func(_is_plain_mapping, lambda value, _: _mapping(value))
    converter.register_structure_hook_factory(attrs.has, _class_hook(converter))
    converter.register_unstructure_hook(Path, str)
    return converter


def _class_hook(converter: cattrs.Converter) -> Callable[[Any], Any]:
    """Return a factory of hooks that run the validators of a class field by field."""

    def make(cls: Any) -> Any:
        checked: dict[str, Any] = {
            field.name: override(struct_hook=_checked(converter, field))
            for field in attrs.fields(cls)
            if field.validator
        }
        return make_dict_structure_fn(cls, converter, **checked)

    return make


def _is_union(kind: Any) -> bool:
    return isinstance(kind, UnionType) or get_origin(kind) is Union


def _is_plain_mapping(kind: Any) -> bool:
    return get_origin(kind) in (Mapping, dict) and get_args(kind)[-1] is Any


def _checked(
    converter: cattrs.Converter, field: "attrs.Attribute[Any]"
) -> Callable[[Any, Any], Any]:
    """Return a hook that runs the validator of `field` where cattrs still knows its name."""

    def hook(value: Any, kind: Any) -> Any:
        structured = converter.structure(value, kind)
        if field.validator:
            field.validator(None, field, structured)
        return structured

    return hook


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        msg = f"expected a table, got {value!r}"
        raise TypeError(msg)
    return dict(value)


_converter = _make_converter()


def structure(data: Any, kind: type[T], where: str = "") -> T:
    """Return a `kind` made of plain data; raises `ConfigError` with every fault and its path."""
    try:
        return _converter.structure(data, kind)
    except (cattrs.BaseValidationError, TypeError, ValueError) as error:
        raise ConfigError(list(_faults(error, where or kind.__name__, kind))) from error


def unstructure(value: Any) -> Any:
    """Return `value` as plain JSON-able data."""
    return _plain(_converter.unstructure(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | frozenset | set) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _faults(error: BaseException, path: str, kind: Any) -> list[str]:
    if isinstance(error, ClassValidationError | IterableValidationError):
        faults = []
        for inner in error.exceptions:
            faults += _faults(inner, path + _suffix(inner), _field_type(inner, kind))
        return faults
    if isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl)]
        return [
            f"{path}: unknown key '{name}'{nearest(name, known)}; known: {', '.join(known)}"
            for name in sorted(error.extra_fields)
        ]
    if isinstance(error, KeyError):
        return [f"{path}: the required key {error} is missing"]
    message = error.args[0] if error.args else repr(error)
    return [f"{path}: {message}"]


def _suffix(error: BaseException) -> str:
    for note in getattr(error, "__notes__", ()):
        if getattr(note, "name", None) is not None:
            return f".{note.name}"
        if getattr(note, "index", None) is not None:
            return f"[{note.index}]"
    return ""


def _field_type(error: BaseException, kind: Any) -> Any:
    for note in getattr(error, "__notes__", ()):
        if hasattr(note, "type"):
            return note.type
    return kind

"""The layers of a config: recipe < TOML file < environment < ``--set``, each as nested data.

It parses and merges; what a key means is decided in `config.resolve`.
"""

import tomllib
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import attrs

from ralo_core.errors import ConfigError

ENV_PREFIX = "RALO__"


@attrs.frozen
class Layer:
    """One source of values; `source` is shown by ``ralo config show``."""

    source: str
    data: Mapping[str, Any]


def file_layer(path: Path) -> Layer:
    """Return the layer of a TOML file; raises `ConfigError` if it cannot be read or parsed."""
    try:
        return Layer(str(path), tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not a TOML file: {error}"]) from error


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """Return the layer of ``RALO__SECTION__KEY=value`` variables."""
    data: dict[str, Any] = {}
    for name, text in sorted(environ.items()):
        if name.startswith(ENV_PREFIX):
            _put(data, name.removeprefix(ENV_PREFIX).lower().split("__"), parse_value(text), name)
    return Layer("environment", data)


def set_layer(assignments: Iterable[str]) -> Layer:
    """Return the layer of ``--set section.key=value`` options."""
    data: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise ConfigError([f"--set {assignment}: expected section.key=value"])
        _put(data, path.strip().split("."), parse_value(text.strip()), f"--set {assignment}")
    return Layer("--set", data)


def parse_value(text: str) -> Any:
    """Return `text` as a TOML value where it is one, else as the plain string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def merge(layers: Iterable[Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the merged data and, per dotted path of a value, the source that won."""
    data: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        _merge_into(data, layer.data, layer.source, sources, "")
    return data, sources


def _merge_into(
    target: MutableMapping[str, Any],
    data: Mapping[str, Any],
    source: str,
    sources: dict[str, str],
    prefix: str,
) -> None:
    for key, value in data.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if not isinstance(target.get(key), MutableMapping):
                target[key] = {}
            _merge_into(target[key], value, source, sources, f"{path}.")
        else:
            target[key] = value
            sources[path] = source


def _put(data: dict[str, Any], path: list[str], value: Any, origin: str) -> None:
    for key in path[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ConfigError([f"{origin}: '{key}' is a value, not a section"])
    data[path[-1]] = value

"""The values of a config that somebody has set, as a TOML file that leads to them again.

A Kubernetes ConfigMap carries the config in this form.
"""

import json
from collections.abc import Mapping
from typing import Any

from ralo_core.config import Config


def to_toml(config: Config) -> str:
    """Return what in `config` is not a default, one key a line, in sections."""
    tables: dict[str, list[str]] = {}
    for path, source in config.sources.items():
        if source != "default":
            table, _, key = path.rpartition(".")
            tables.setdefault(table, []).append(f"{key} = {_value(_at(config.data, path))}")
    return "\n".join(
        "\n".join([f"[{table}]", *lines, ""]) for table, lines in sorted(tables.items())
    )


def _at(data: Mapping[str, Any], path: str) -> Any:
    for key in path.split("."):
        data = data[key]
    return data


def _value(value: Any) -> str:
    """Strings, numbers, booleans and lists of them are written as in JSON."""
    return json.dumps(value, ensure_ascii=False)

"""Old names of the config: refused by an error that says the new name.

An old name would be an unknown section or key anyway; who has it in a file wants to read what it
is called now, not a list of all that there is.
"""

from collections.abc import Mapping
from typing import Any

RENAMED: dict[str, str] = {"evaluators": "benchmarks"}
"""Dotted path of a section or key as it was -> as it is. A section stands for all of its keys."""


def without_renamed(
    data: Mapping[str, Any], sources: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Return `data` without what has another name now, and a fault for each such name.

    `sources` says where the values came from; data of another process have none.
    """
    kept, faults = dict(data), []
    for old, new in RENAMED.items():
        if not _has(kept, old.split(".")):
            continue
        kept = _without(kept, old.split("."))
        origins = {
            source for path, source in sources.items() if path == old or path.startswith(f"{old}.")
        }
        where = f" (from {', '.join(sorted(origins))})" if origins else ""
        faults.append(f"{_written(old)}{where}: it is called {_written(new)} now")
    return kept, faults


def _written(path: str) -> str:
    """Return `path` as a file of settings shows it: a section has no dot."""
    return path if "." in path else f"[{path}]"


def _has(data: Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(data, Mapping) or key not in data:
            return False
        data = data[key]
    return True


def _without(data: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    """Return a copy of `data` that lacks `path`, which it has."""
    first, *rest = path
    if not rest:
        return {key: value for key, value in data.items() if key != first}
    return {**data, first: _without(data[first], rest)}

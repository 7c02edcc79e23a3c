"""Old names of the config: refused by an error that says the new name.

An old name would be an unknown section or key anyway; who has it in a file wants to read what it
is called now, not a list of all that there is. The config of a run that an older version made is
another matter: nobody typed it, so its names are brought up to date (`with_new_names`).
"""

from collections.abc import Mapping
from typing import Any

RENAMED: dict[str, str] = {
    "evaluators": "benchmarks",
    "benchmarks.jsonl.judge": "benchmarks.jsonl.grader",
    "benchmarks.huggingface.judge": "benchmarks.huggingface.grader",
}
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


def with_new_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config `data` of an earlier version under today's names.

    A value that stands under the new name already is kept.
    """
    named = dict(data)
    for old, new in RENAMED.items():
        path = old.split(".")
        if _has(named, path):
            value = _value(named, path)
            named = _without(named, path)
            if not _has(named, new.split(".")):
                named = _with(named, new.split("."), value)
    return named


def with_new_paths(sources: Mapping[str, str]) -> dict[str, str]:
    """Return `sources`, which are by the dotted path of a key, under today's paths."""
    found = dict(sources)
    for old, new in RENAMED.items():
        found = {
            new + path[len(old) :] if path == old or path.startswith(f"{old}.") else path: source
            for path, source in found.items()
        }
    return found


def _written(path: str) -> str:
    """Return `path` as a file of settings shows it: a section has no dot."""
    return path if "." in path else f"[{path}]"


def _has(data: Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(data, Mapping) or key not in data:
            return False
        data = data[key]
    return True


def _value(data: Mapping[str, Any], path: list[str]) -> Any:
    """Return what stands at `path`, which `data` has."""
    value: Any = data
    for key in path:
        value = value[key]
    return value


def _with(data: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """Return a copy of `data` with `value` at `path`."""
    first, *rest = path
    return {**data, first: _with(data.get(first, {}), rest, value) if rest else value}


def _without(data: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    """Return a copy of `data` that lacks `path`, which it has."""
    first, *rest = path
    if not rest:
        return {key: value for key, value in data.items() if key != first}
    return {**data, first: _without(data[first], rest)}

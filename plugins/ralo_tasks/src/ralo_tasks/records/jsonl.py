"""``[problems] use = "jsonl"``: problems from JSON-lines files.

Everything after the files are read is in `ralo_tasks.records.records`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ralo_core.components import BuildContext
from ralo_core.config.setting import setting
from ralo_core.errors import DataError
from ralo_tasks.records.fields import FieldMapping
from ralo_tasks.records.records import RecordProvider, RecordSet, RecordSettings, SourceSettings


@attrs.frozen(kw_only=True)
class JsonlSource(SourceSettings):
    """One file of ``[[problems.jsonl.sources]]``."""

    path: str = setting("", "the file")


@attrs.frozen(kw_only=True)
class JsonlSettings(RecordSettings):
    """``[problems.jsonl]``: which files, and how a line becomes a problem."""

    path: str = setting("", "the file, relative to where the orchestrator was started")
    sources: list[JsonlSource] = setting([], "several files, each with a mapping of its own")

    def __attrs_post_init__(self) -> None:
        if bool(self.path) == bool(self.sources) or not all(item.path for item in self.sources):
            msg = "set either 'path', or 'sources' with a 'path' in each"
            raise ValueError(msg)


class JsonlProvider(RecordProvider):
    """The lines of one file or of several, one after the other."""

    def __init__(self, settings: JsonlSettings, context: BuildContext) -> None:
        sources = settings.sources or [JsonlSource(path=settings.path)]
        sets = [open_file(source, settings.mapping(source)) for source in sources]
        super().__init__(sets, settings, context)


def open_file(source: JsonlSource, mapping: FieldMapping) -> RecordSet:
    """Return the lines of a file; raises `DataError` naming what cannot be read."""
    path = Path(source.path).expanduser()
    lines = read_lines(path)
    numbers, records = list(lines), list(lines.values())
    return RecordSet(
        name=path.stem,
        records=records,
        where=lambda index: f"{path}:{numbers[index]}",
        mapping=mapping,
        held_out=source.held_out,
    )


def read_lines(path: Path) -> dict[int, Mapping[str, Any]]:
    """Return the objects of a JSON-lines file by line number; blank lines are skipped.

    Raises `DataError` naming file and line of what is not UTF-8 or not a JSON object.
    """
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}; the current directory is {Path.cwd()}"
        raise DataError(msg) from error
    records = {
        number: _parse(line, f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    }
    if not records:
        msg = f"{path} is empty"
        raise DataError(msg)
    return records


def _parse(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line.decode("utf-8"))
    except ValueError as error:
        msg = f"{where}: not a line of JSON in UTF-8: {error}"
        raise DataError(msg) from error
    if not isinstance(record, dict):
        msg = f"{where}: expected an object with named fields, got {type(record).__name__}"
        raise DataError(msg)
    return record

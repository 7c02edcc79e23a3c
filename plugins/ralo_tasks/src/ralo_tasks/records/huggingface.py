"""``[problems] use = "huggingface"``: problems from the Hub or from files on this machine.

Everything after the data are opened is in `ralo_tasks.records.records`. The `datasets` library is
imported on use only: the settings are checked without it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ralo_core import BuildContext, RaloError, setting
from ralo_tasks.records.fields import FieldMapping
from ralo_tasks.records.records import RecordProvider, RecordSet, RecordSettings, SourceSettings

_BUILDERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
}


@attrs.frozen(kw_only=True)
class HuggingFaceSource(SourceSettings):
    """One data set of ``[[problems.huggingface.sources]]``."""

    path: str = setting("", "name on the Hub, or a file or folder here")
    config: str = setting("", "configuration (subset) of the data set; empty: its only one")
    split: str = setting("train", "split, e.g. 'test' or 'train[:1000]'")
    revision: str = setting("", "branch, tag or commit on the Hub; empty: the newest")


@attrs.frozen(kw_only=True)
class HuggingFaceSettings(RecordSettings):
    """``[problems.huggingface]``: which data set, and how a row becomes a problem."""

    path: str = setting("", "name on the Hub, or a csv, json, parquet or arrow file, or a folder")
    config: str = setting("", "configuration (subset) of the data set; empty: its only one")
    split: str = setting("train", "split, e.g. 'test' or 'train[:1000]'")
    revision: str = setting("", "branch, tag or commit on the Hub; empty: the newest")
    sources: list[HuggingFaceSource] = setting([], "several, each with a mapping of its own")

    def __attrs_post_init__(self) -> None:
        if bool(self.path) == bool(self.sources) or not all(item.path for item in self.sources):
            msg = "set either 'path', or 'sources' with a 'path' in each"
            raise ValueError(msg)


class HuggingFaceProvider(RecordProvider):
    """The rows of one data set or of several, one after the other."""

    def __init__(self, settings: HuggingFaceSettings, context: BuildContext) -> None:
        sources = settings.sources or [
            HuggingFaceSource(
                path=settings.path,
                config=settings.config,
                split=settings.split,
                revision=settings.revision,
            )
        ]
        sets = [open_rows(source, settings.mapping(source)) for source in sources]
        super().__init__(sets, settings, context)


def open_rows(source: HuggingFaceSource, mapping: FieldMapping) -> RecordSet:
    """Return the rows of a data set; raises `RaloError` saying what to do where it has none."""
    rows = load_rows(source)
    if len(rows) == 0:
        msg = f"split '{source.split}' of {source.path} is empty"
        raise RaloError(msg)
    return RecordSet(
        name=Path(source.path).stem,
        records=rows,
        where=lambda index: f"{source.path}, split '{source.split}', row {index}",
        mapping=mapping,
        held_out=source.held_out,
    )


def load_rows(source: HuggingFaceSource) -> Any:
    """Return the `datasets.Dataset` of a source, or raise `RaloError` saying what to do."""
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        msg = "the huggingface problems need the datasets library: pip install datasets"
        raise RaloError(msg) from error
    try:
        return _load(datasets, source)
    except ConnectionError as error:
        msg = (
            f"{source.path} is no file or folder here, and the Hub cannot be reached: {error}. "
            f"Download it once where there is a network (it is then cached), or give a local path"
        )
        raise RaloError(msg) from error
    except (DatasetsError, OSError, ValueError) as error:
        msg = f"{source.path} cannot be loaded (split '{source.split}'): {error}"
        raise RaloError(msg) from error


def _load(datasets: Any, source: HuggingFaceSource) -> Any:
    path = Path(source.path).expanduser()
    if (path / "dataset_dict.json").is_file():
        return _split(datasets.load_from_disk(str(path)), source)
    if (path / "state.json").is_file():
        return datasets.load_from_disk(str(path))
    if path.suffix.lower() in _BUILDERS:
        return _load_file(datasets, path, source)
    return datasets.load_dataset(
        str(path) if path.exists() else source.path,
        source.config or None,
        split=source.split,
        revision=source.revision or None,
    )


def _load_file(datasets: Any, path: Path, source: HuggingFaceSource) -> Any:
    if not path.is_file():
        msg = f"no such file; the current directory is {Path.cwd()}"
        raise FileNotFoundError(msg)
    options = {"sep": "\t"} if path.suffix.lower() == ".tsv" else {}
    name = source.split.partition("[")[0]
    return datasets.load_dataset(
        _BUILDERS[path.suffix.lower()],
        data_files={name: str(path)},
        split=source.split,
        **options,
    )


def _split(splits: Mapping[str, Any], source: HuggingFaceSource) -> Any:
    if source.split not in splits:
        msg = f"it has the splits {', '.join(splits)}"
        raise ValueError(msg)
    return splits[source.split]

"""A Hugging Face model directory as the orchestrator sees it: files, checked without torch.

Only names of files and the config are looked at, so any architecture will do.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ralo_core.adapters import has_adapter
from ralo_core.errors import RaloError
from ralo_core.files.safetensors_layout import read_places
from ralo_server.models.version_files import MANIFEST

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
_WEIGHT_ENDINGS = (
    ".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf", ".delta",
)  # fmt: skip
INDEX = "model.safetensors.index.json"
_OF_WEIGHTS = (INDEX, MANIFEST)


def check_model(directory: Path) -> None:
    """Raise `RaloError` saying what is wrong if this is not a model directory we can train."""
    if not directory.is_dir():
        msg = f"run.model = '{directory}': there is no such directory; give a Hugging Face model"
        raise RaloError(msg)
    _read_json(directory, "config.json")
    if has_adapter(directory):
        msg = f"run.model = '{directory}' has an adapter beside it; merge it into the model first"
        raise RaloError(msg)
    if not any((directory / name).is_file() for name in _TOKENIZER_FILES):
        msg = f"run.model = '{directory}' has no tokenizer ({', '.join(_TOKENIZER_FILES)})"
        raise RaloError(msg)
    for file in weight_files(directory):
        try:
            with safe_open(file, framework="np") as tensors:
                tensors.keys()
        except (SafetensorError, OSError) as error:
            msg = f"{file} is not a whole safetensors file ({error}); download the model again"
            raise RaloError(msg) from error


def weight_files(directory: Path) -> Sequence[Path]:
    """Return the safetensors files of a model; raises `RaloError` if any is missing."""
    if (directory / INDEX).is_file():
        names = sorted(set(_read_json(directory, INDEX)["weight_map"].values()))
        files = [directory / name for name in names]
    else:
        files = sorted(directory.glob("*.safetensors"))
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        what = f"lacks {', '.join(missing)}" if missing else "has no *.safetensors file"
        msg = f"run.model = '{directory}' {what}; save the model with safe_serialization=True"
        raise RaloError(msg)
    return files


def copy_model_files(source: Path, target: Path) -> None:
    """Copy everything of a model that is not weights: config, tokenizer, templates."""
    target.mkdir(exist_ok=True)
    for file in source.iterdir():
        of_weights = file.name in _OF_WEIGHTS or file.suffix in _WEIGHT_ENDINGS
        if file.is_file() and not of_weights:
            shutil.copy2(file, target / file.name)


def copy_weights(source: Path, target: Path) -> None:
    """Copy the weights of a model, with an index that names the model's files: an adapter, which is
    a safetensors file, too, will lie beside them."""
    weight_map = {}
    for file in weight_files(source):
        try:
            shutil.copyfile(file, target / file.name)
        except OSError as error:
            msg = f"cannot copy {file} into the run ({error}); a LoRA run holds its model once"
            raise RaloError(msg) from error
        weight_map.update(dict.fromkeys(read_places(file), file.name))
    (target / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1))


def model_type(directory: Path) -> str:
    """Return what ``transformers`` calls the model's architecture, ``""`` if it is not said."""
    return str(_read_json(directory, "config.json").get("model_type", ""))


def ties_embeddings(directory: Path) -> bool:
    """Say whether the output head is the input embedding."""
    return bool(_read_json(directory, "config.json").get("tie_word_embeddings", False))


def _read_json(directory: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((directory / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"run.model = '{directory}' has no {name}: it is not a Hugging Face model directory"
        raise RaloError(msg) from None
    except ValueError as error:
        msg = f"{directory / name} is not valid JSON: {error}"
        raise RaloError(msg) from error
    if not isinstance(content, dict):
        msg = f"{directory / name} holds no JSON object"
        raise RaloError(msg)
    return content

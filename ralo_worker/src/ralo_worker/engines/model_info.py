"""What an engine reads about a model from its directory, without opening the weights.

The directory has Hugging Face's files and, if it is a published version, its manifest.
"""

import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from ralo_core import BuildContext, RaloError


def model_directory(context: BuildContext, engine: str) -> Path:
    """Return the directory that the engine called `engine` is to open."""
    if context.model_dir is None:
        msg = f"the {engine} engine needs a model directory; none was given"
        raise RaloError(msg)
    return context.model_dir


def eos_token_ids(directory: Path) -> frozenset[int]:
    """Return every end-of-sequence id that generation config and config name, or else the
    tokenizer's; raises `RaloError` where there is none."""
    found: set[int] = set()
    for config in (_generation_config(directory), _config(directory)):
        ids = getattr(config, "eos_token_id", None)
        found |= {ids} if isinstance(ids, int) else set(ids or ())
    if not found:
        token = AutoTokenizer.from_pretrained(directory).eos_token_id
        found = set() if token is None else {token}
    if not found:
        msg = f"the model in {directory} names no end-of-sequence token (eos_token_id)"
        raise RaloError(msg)
    return frozenset(found)


def max_length(directory: Path) -> int:
    """Return the tokens of the model's context."""
    longest = getattr(_config(directory), "max_position_embeddings", None)
    if not longest:
        msg = f"the config of the model in {directory} has no max_position_embeddings"
        raise RaloError(msg)
    return int(longest)


def vocabulary(directory: Path) -> int:
    """Return the number of token ids that the model has an embedding for."""
    return int(_config(directory).vocab_size)


def version_number(directory: Path) -> int:
    """Return the number in the directory's manifest, 0 where it is a plain model."""
    manifest = directory / "manifest.json"
    return int(json.loads(manifest.read_text())["number"]) if manifest.is_file() else 0


def _config(directory: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(directory)
    except (OSError, ValueError) as error:
        msg = f"cannot open the model in {directory}: {error}"
        raise RaloError(msg) from error


def _generation_config(directory: Path) -> Any:
    try:
        return GenerationConfig.from_pretrained(directory)
    except OSError:  # it is optional
        return None

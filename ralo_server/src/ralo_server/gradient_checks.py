"""What a gradient must be before it may touch the optimizer; every fault names its tensor.

Neighbours: the web side checks at the door, the learner relies on it. numpy only; values are
decoded tensor by tensor, so memory is that of the largest tensor.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from ralo_core.data import GradientUpload
from ralo_core.protocols import GradientCodec
from ralo_server.rundir import RunDirectory

PARAMETERS = "parameters.json"
"""Name and shape of every trained parameter, written beside the weights by the learner."""


def check_declaration(upload: GradientUpload, codec: str, newest: int) -> str:
    """Return what is wrong with the declaration of an upload, ``""`` if nothing is."""
    if upload.codec != codec:
        return f"the gradient is encoded with '{upload.codec}', the run uses codec '{codec}'"
    if not (math.isfinite(upload.weight) and upload.weight > 0):
        return f"weight must be a finite number above 0, got {upload.weight}"
    if not 0 <= upload.base_version <= newest:
        return f"base_version {upload.base_version} does not exist, the newest is {newest}"
    wrong = [name for name, value in upload.metrics.items() if not math.isfinite(value)]
    return f"metric '{wrong[0]}' is not finite" if wrong else ""


def check_gradient(path: Path, directory: RunDirectory, codec: GradientCodec) -> str:
    """Return what is wrong with the tensors of an upload, ``""`` if nothing is."""
    shapes = parameter_shapes(directory)
    seen = set()
    try:
        for name, values in decoded(path, shapes, codec):
            seen.add(name)
            fault = _fault(name, values, shapes)
            if fault:
                return fault
    except (SafetensorError, ValueError, KeyError) as error:
        return f"the gradient cannot be decoded: {error}"
    missing = sorted(shapes.keys() - seen)
    return f"tensor '{missing[0]}' is missing" if missing else ""


def decoded(
    path: Path, shapes: Mapping[str, tuple[int, ...]], codec: GradientCodec
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yield (name, flat float32 values) of every parameter that the file has a part of."""
    with safe_open(path, framework="np") as tensors:
        parts: dict[str, dict[str, str]] = {}
        for key in tensors.keys():  # noqa: SIM118 (safe_open is no mapping)
            name, suffix = _split(key, shapes)
            parts.setdefault(name, {})[suffix] = key
        for name, keys in parts.items():
            arrays = {suffix: tensors.get_tensor(key) for suffix, key in keys.items()}
            yield name, codec.decode(name, arrays)


def parameter_shapes(directory: RunDirectory) -> dict[str, tuple[int, ...]]:
    """Return the shape of every trained parameter."""
    text = (directory.weights / PARAMETERS).read_text(encoding="utf-8")
    return {name: tuple(shape) for name, shape in json.loads(text).items()}


def _fault(
    name: str, values: npt.NDArray[np.float32], shapes: Mapping[str, tuple[int, ...]]
) -> str:
    if name not in shapes:
        return f"tensor '{name}' is not a parameter of the model"
    expected = math.prod(shapes[name])
    if values.size != expected:
        return f"tensor '{name}' has {values.size} values, its parameter has {expected}"
    if not np.isfinite(values).all():
        bad = int(values.size - np.isfinite(values).sum())
        return f"tensor '{name}' has {bad} values that are not finite"
    return ""


def _split(key: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str]:
    """Return parameter name and codec suffix of a tensor's key."""
    if key in shapes:
        return key, ""
    name = max((name for name in shapes if key.startswith(name)), key=len, default=key)
    return name, key[len(name) :]

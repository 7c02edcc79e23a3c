"""What a gradient must be before it may touch the optimizer; every fault names its tensor.

Neighbours: the web side checks at the door, the learner relies on it. numpy only; values are
decoded slice by slice, so memory does not grow with the model.
"""

import json
import math
from pathlib import Path

import numpy as np

from ralo_core.data import GradientUpload
from ralo_core.errors import WireError
from ralo_core.protocols import GradientCodec
from ralo_server.gradient_file import GradientFile, slices
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
    try:
        file = GradientFile(path, shapes, codec)
        if file.missing():
            return f"tensor '{file.missing()[0]}' is missing"
        for name, shape in shapes.items():
            bad = _not_finite(file, name, math.prod(shape))
            if bad:
                return f"tensor '{name}' has {bad} values that are not finite"
    except WireError as error:
        return str(error)
    return ""


def parameter_shapes(directory: RunDirectory) -> dict[str, tuple[int, ...]]:
    """Return the shape of every trained parameter."""
    text = (directory.weights / PARAMETERS).read_text(encoding="utf-8")
    return {name: tuple(shape) for name, shape in json.loads(text).items()}


def _not_finite(file: GradientFile, name: str, size: int) -> int:
    return sum(
        stop - start - int(np.isfinite(file.values(name, start, stop)).sum())
        for start, stop in slices(size)
    )

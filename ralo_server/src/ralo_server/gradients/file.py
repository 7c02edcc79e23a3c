"""A gradient upload on disk: mapped, not read; decoded slice by slice, so memory stays constant.

Every slice is decoded twice: when the upload is validated, and in the step.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from ralo_core.errors import WireError
from ralo_core.files import dtypes
from ralo_core.files.safetensors_layout import read_places
from ralo_core.protocols import GradientCodec
from ralo_server.gradients.parameters import Shapes

_BAD_PARTS = (KeyError, ValueError, IndexError, TypeError)
"""What a codec raises for arrays that are not those of its `encode`."""


class GradientFile:
    """The upload at `path`, of a model whose parameters have `shapes`, encoded by `codec`.

    Raises `WireError` for a file that is no safetensors file, and for a tensor that belongs to no
    parameter or has another size than its parameter, naming it.
    """

    def __init__(self, path: Path, shapes: Shapes, codec: GradientCodec) -> None:
        self._codec = codec
        self._sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        self._parts: dict[str, dict[str, npt.NDArray[Any]]] = {}
        for key, array in _mapped(path).items():
            name, suffix = _split(key, shapes)
            if name not in shapes:
                msg = f"tensor '{name}' is not a parameter of the model"
                raise WireError(msg)
            self._parts.setdefault(name, {})[suffix] = array
        for name, parts in self._parts.items():
            self._check_size(name, parts)

    def missing(self) -> list[str]:
        """Return the parameters that the file has nothing of."""
        return sorted(self._sizes.keys() - self._parts.keys())

    def values(self, name: str, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return values ``start:stop`` of parameter `name`, flattened.

        Raises `WireError` if the codec cannot decode them.
        """
        try:
            return self._codec.decode(name, self._parts[name], start, stop)
        except _BAD_PARTS as error:
            msg = f"tensor '{name}' cannot be decoded: {error!r}"
            raise WireError(msg) from error

    def _check_size(self, name: str, parts: Mapping[str, npt.NDArray[Any]]) -> None:
        try:
            size = self._codec.size(parts)
        except _BAD_PARTS as error:
            msg = f"tensor '{name}' cannot be decoded: {error!r}"
            raise WireError(msg) from error
        if size != self._sizes[name]:
            msg = f"tensor '{name}' has {size} values, its parameter has {self._sizes[name]}"
            raise WireError(msg)


def _mapped(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return every tensor of a safetensors file as a read-only, flat view of the mapped file."""
    try:
        places = read_places(path)
    except (SafetensorError, OSError) as error:
        msg = f"the gradient is not a safetensors file: {error}"
        raise WireError(msg) from error
    raw = np.memmap(path, np.uint8, "r")
    found: dict[str, npt.NDArray[Any]] = {}
    for key, place in places.items():
        if place.dtype not in dtypes.NUMPY:
            msg = f"tensor '{key}' has dtype {place.dtype}, which no codec can read"
            raise WireError(msg)
        found[key] = raw[place.start : place.stop].view(dtypes.NUMPY[place.dtype])
    return found


def _split(key: str, shapes: Shapes) -> tuple[str, str]:
    """Return parameter name and codec suffix of a tensor's key."""
    if key in shapes:
        return key, ""
    name = max((name for name in shapes if key.startswith(name)), key=len, default=key)
    return name, key[len(name) :]

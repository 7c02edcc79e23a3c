"""A model with its adapter merged in: W + (alpha / rank) B A, tensor by tensor.

It is computed in float32 and cast once, to the dtype of the model. Memory is that of the largest
matrix; a tensor without an adapter is copied as it is. Beside the learner this is the only module
that needs torch: import it where it is used.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ralo_core.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_names
from ralo_core.files.hashed_file import write_hashed
from ralo_core.files.safetensors_layout import Place, read_places
from ralo_server.learner.publish.tensor_file import bytes_of, open_tensors

_WEIGHT = ".weight"


def write_merged(source: Path, adapter: Path, target: Path) -> None:
    """Write the weights file `source` to `target` with what `adapter`, a directory, adds to it.

    Dtypes, shapes and places of the tensors stay. Raises `RaloError` for a file that is not whole.
    """
    write_hashed(target, _blocks(source, _Adapter(adapter)))


def _blocks(source: Path, adapter: "_Adapter") -> Iterator[memoryview]:
    """Yield the bytes of the file: its header, then tensor by tensor."""
    places, tensors = _by_place(read_places(source)), open_tensors(source)
    with source.open("rb") as file:
        yield memoryview(file.read(next(iter(places.values())).start))
    for name in places:
        yield bytes_of(adapter.merged(name, tensors[name]))


def _by_place(places: Mapping[str, Place]) -> Mapping[str, Place]:
    return dict(sorted(places.items(), key=lambda item: (item[1].start, item[1].stop)))


class _Adapter:
    """The adapter in `directory`."""

    def __init__(self, directory: Path) -> None:
        config: dict[str, Any] = json.loads((directory / ADAPTER_CONFIG).read_text())
        self._scaling = float(config["lora_alpha"] / config["r"])
        self._tensors = open_tensors(directory / ADAPTER_WEIGHTS)

    def merged(self, name: str, weights: Tensor) -> Tensor:
        """Return `weights`, the tensor `name` of the model, with the adapter in it."""
        down, up = adapter_names(name.removesuffix(_WEIGHT))
        if not name.endswith(_WEIGHT) or down not in self._tensors:
            return weights
        added = self._tensors[up].float() @ self._tensors[down].float()
        sums: Tensor = weights.float() + self._scaling * added
        return sums.to(weights.dtype)

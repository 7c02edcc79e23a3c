"""Writes a weight version: a complete Hugging Face model directory with its manifest.

Neighbours: `step_files` and `loop` call it before they commit; the version exists for others only
after that. The weights come as a stream of slices and are never whole in memory.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs
import torch
from torch import Tensor

from ralo_core.data import WeightFile, WeightVersion
from ralo_core.structuring import unstructure
from ralo_server.blobs import new_directory, sha256_of
from ralo_server.learner.hashed_file import write_hashed
from ralo_server.learner.tensor_file import Spec, bytes_of, layout_of

_WEIGHTS = "model.safetensors"


@attrs.define
class Publisher:
    """Writes versions of the model whose other files lie in `model_files`, cast to `dtype`."""

    model_files: Path
    dtype: torch.dtype
    _known: dict[str, WeightFile] = attrs.field(factory=dict, init=False)

    def write(
        self,
        target: Path,
        number: int,
        shapes: Mapping[str, tuple[int, ...]],
        weights: Iterable[Tensor],
        constants: Mapping[str, Tensor],
    ) -> WeightVersion:
        """Write version `number` to the folder `target` and return its description.

        `weights` are slices of the parameters of `shapes`, one behind the other in that order;
        a slice may be overwritten when the next is asked for.
        """
        with new_directory(target) as folder:
            blocks = self._blocks(shapes, weights, constants)
            path = folder / _WEIGHTS
            digest = write_hashed(path, blocks)
            written = WeightFile(name=_WEIGHTS, size=path.stat().st_size, sha256=digest)
            files = [written, *self._link_model_files(folder)]
            version = WeightVersion(
                number=number,
                parent=number - 1 if number else None,
                sha256=_digest_of_all(files),
                files=tuple(files),
                created=time.time(),
            )
            (folder / "manifest.json").write_text(json.dumps(unstructure(version), indent=1))
        return version

    def _blocks(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        weights: Iterable[Tensor],
        constants: Mapping[str, Tensor],
    ) -> Iterator[memoryview]:
        """Yield the safetensors file: header, parameters, and the constants around them so that
        each lies at a multiple of its item size."""
        large = {n: c for n, c in constants.items() if c.dtype.itemsize > self.dtype.itemsize}
        small = {n: c for n, c in constants.items() if n not in large}
        tensors: dict[str, Spec] = {
            **_specs_by_size(large),
            **{name: (self.dtype, shape) for name, shape in shapes.items()},
            **_specs_by_size(small),
        }
        yield memoryview(layout_of(tensors, {"format": "pt"}).header)
        yield from (bytes_of(large[name]) for name in _specs_by_size(large))
        yield from self._cast(weights)
        yield from (bytes_of(small[name]) for name in _specs_by_size(small))

    def _cast(self, weights: Iterable[Tensor]) -> Iterator[memoryview]:
        """Yield the bytes of every slice in the published dtype, from two buffers in turn."""
        buffers = [torch.empty(0, dtype=self.dtype), torch.empty(0, dtype=self.dtype)]
        for values in weights:
            buffers.reverse()
            if len(buffers[0]) < len(values):
                buffers[0] = torch.empty(len(values), dtype=self.dtype)
            yield bytes_of(buffers[0][: len(values)].copy_(values))

    def _link_model_files(self, folder: Path) -> list[WeightFile]:
        """Put config and tokenizer beside the weights; a hard link costs no copy."""
        for file in sorted(self.model_files.iterdir()):
            os.link(file, folder / file.name)
            if file.name not in self._known:
                self._known[file.name] = _describe(file)
        return list(self._known.values())


def _specs_by_size(tensors: Mapping[str, Tensor]) -> dict[str, Spec]:
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    return {name: (tensors[name].dtype, tuple(tensors[name].shape)) for name in names}


def _describe(path: Path) -> WeightFile:
    return WeightFile(name=path.name, size=path.stat().st_size, sha256=sha256_of(path))


def _digest_of_all(files: list[WeightFile]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        digest.update(f"{file.name} {file.sha256}\n".encode())
    return digest.hexdigest()

"""Writes a weight version: a complete Hugging Face model directory with its manifest.

Neighbours: `loop` calls it before it commits; the version exists for others only after that.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
import torch
from safetensors.torch import save_file
from torch import Tensor

from ralo_core.data import WeightFile, WeightVersion
from ralo_core.structuring import unstructure
from ralo_server.blobs import new_directory, sha256_of

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
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
    ) -> WeightVersion:
        """Write version `number` to the folder `target` and return its description."""
        with new_directory(target) as folder:
            cast = {name: value.detach().to(self.dtype) for name, value in parameters.items()}
            save_file({**cast, **constants}, folder / _WEIGHTS, {"format": "pt"})
            files = [_describe(folder / _WEIGHTS), *self._link_model_files(folder)]
            version = WeightVersion(
                number=number,
                parent=number - 1 if number else None,
                sha256=_digest_of_all(files),
                files=tuple(files),
                created=time.time(),
            )
            (folder / "manifest.json").write_text(json.dumps(unstructure(version), indent=1))
        return version

    def _link_model_files(self, folder: Path) -> list[WeightFile]:
        """Put config and tokenizer beside the weights; a hard link costs no copy."""
        for file in sorted(self.model_files.iterdir()):
            os.link(file, folder / file.name)
            if file.name not in self._known:
                self._known[file.name] = _describe(file)
        return list(self._known.values())


def _describe(path: Path) -> WeightFile:
    return WeightFile(name=path.name, size=path.stat().st_size, sha256=sha256_of(path))


def _digest_of_all(files: list[WeightFile]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        digest.update(f"{file.name} {file.sha256}\n".encode())
    return digest.hexdigest()

"""Writes a weight version: a complete Hugging Face model directory with its manifest.

It is called before the commit; until then nobody else knows of the version. The weights come as a
stream of slices and are never whole in memory.
"""

import hashlib
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import torch
from torch import Tensor

from ralo_core.adapters import ADAPTER_WEIGHTS
from ralo_core.config import Config, LearnerSettings, LoraSettings
from ralo_core.data import WeightFile, WeightVersion
from ralo_core.errors import ConfigError
from ralo_core.files.atomic import UNFINISHED, new_directory
from ralo_core.files.digests import sha256_of
from ralo_core.files.hashed_file import write_hashed
from ralo_server.learner.publish.delta_writer import VersionDeltaWriter
from ralo_server.learner.publish.tensor_file import Spec, bytes_of
from ralo_server.learner.publish.weight_shards import Shard, index_of, size_of, split
from ralo_server.models.model_files import INDEX
from ralo_server.models.version_files import read_manifest, write_manifest
from ralo_server.rundir.directory import RunDirectory

log = logging.getLogger(__name__)

_SHARD_BYTES = 1 << 30
_CLEARLY_SMALLER = 0.6
"""Share of the weights' bytes up to which a delta is worth its time."""


@attrs.define
class Publisher:
    """Writes versions of the model whose other files lie in `model_files`, cast to `dtype`, in
    weights files of about `shard_bytes` whose names begin with `stem`; with `deltas` also what
    changed since the parent."""

    model_files: Path
    dtype: torch.dtype
    shard_bytes: float = _SHARD_BYTES
    deltas: bool = True
    stem: str = "model"
    _known: dict[str, WeightFile] = attrs.field(factory=dict, init=False)

    @classmethod
    def of_run(cls, directory: RunDirectory, config: Config) -> "Publisher":
        """Return the one that publishes what a run trains: its model, or an adapter, which is one
        file wherever it is opened."""
        learner, lora = config.section(LearnerSettings), config.section(LoraSettings)
        if lora.rank:
            stem, dtype, shard_bytes = Path(ADAPTER_WEIGHTS).stem, lora.dtype, math.inf
        else:
            stem, dtype, shard_bytes = "model", learner.dtype, learner.shard_mb << 20
        return cls(directory.model, getattr(torch, dtype), shard_bytes, learner.deltas, stem)

    def write(
        self,
        target: Path,
        number: int,
        shapes: Mapping[str, tuple[int, ...]],
        weights: Iterable[Tensor],
        constants: Mapping[str, Tensor],
        *,
        step: int = 0,
        parent: Path | None = None,
    ) -> WeightVersion:
        """Write version `number`, made by `step`, to the folder `target` and describe it.

        `weights` are slices of the parameters of `shapes`, one behind the other in that order,
        none of them of two parameters; a slice may be overwritten when the next is asked for.
        `parent` is the folder of the version before, None for no delta from it.
        """
        shards = split(self._specs(shapes, constants), self.shard_bytes, self.stem)
        with new_directory(target) as folder, self._differences(parent, shards) as differences:
            slices = self._cast(weights)
            files = [
                _write_shard(folder, shard, _blocks(shard, constants, slices), differences)
                for shard in shards
            ]
            files += [*_write_index(folder, shards), *self._link_model_files(folder)]
            sha256 = _digest_of_all(files)
            version = WeightVersion(
                number=number,
                parent=number - 1 if number else None,
                sha256=sha256,
                files=tuple(files),
                created=time.time(),
                step=step,
                deltas=differences.write(folder, sha256) if differences else (),
            )
            write_manifest(folder, version)
        return version

    def _specs(
        self, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, Tensor]
    ) -> Mapping[str, Spec]:
        """Return the tensors in the order of the files: the parameters, and the constants around
        them so that each lies at a multiple of its item size."""
        large = {n: c for n, c in constants.items() if c.dtype.itemsize > self.dtype.itemsize}
        small = {n: c for n, c in constants.items() if n not in large}
        return {
            **_specs_by_size(large),
            **{name: (self.dtype, shape) for name, shape in shapes.items()},
            **_specs_by_size(small),
        }

    @contextmanager
    def _differences(
        self, parent: Path | None, shards: Sequence[Shard]
    ) -> Iterator[VersionDeltaWriter | None]:
        """Yield what finds the difference from the version in `parent`, None if none is wanted."""
        version = _version_in(parent) if parent and self.deltas else None
        if parent is None or version is None:
            yield None
            return
        size = sum(size_of(spec) for shard in shards for spec in shard.tensors.values())
        with tempfile.TemporaryFile(dir=parent.parent, suffix=UNFINISHED) as spill:
            most = int(_CLEARLY_SMALLER * size)
            yield VersionDeltaWriter(version, parent, self.dtype, spill, most)

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


def _blocks(
    shard: Shard, constants: Mapping[str, Tensor], slices: Iterator[memoryview]
) -> Iterator[memoryview]:
    """Yield the bytes of a weights file: its header, then tensor by tensor."""
    yield memoryview(shard.layout.header)
    for name, spec in shard.tensors.items():
        if name in constants:
            yield bytes_of(constants[name])
            continue
        left = size_of(spec)
        while left:
            block = next(slices)
            left -= len(block)
            yield block


def _write_shard(
    folder: Path, shard: Shard, blocks: Iterator[memoryview], differences: VersionDeltaWriter | None
) -> WeightFile:
    seen = differences.of_shard(shard) if differences else None
    digest = write_hashed(folder / shard.name, blocks, seen)
    return WeightFile(name=shard.name, size=shard.layout.size, sha256=digest)


def _write_index(folder: Path, shards: Sequence[Shard]) -> list[WeightFile]:
    """Write the index of several shards; one file needs none."""
    if len(shards) == 1:
        return []
    (folder / INDEX).write_text(index_of(shards))
    return [_describe(folder / INDEX)]


def _version_in(folder: Path) -> WeightVersion | None:
    try:
        return read_manifest(folder)
    except (OSError, ValueError, ConfigError) as error:
        log.warning("no delta from the version in %s: its manifest is not there: %s", folder, error)
        return None


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

"""Which tensor goes into which weights file: Hugging Face's layout, one file where all fit."""

import json
import math
from collections.abc import Mapping, Sequence

import attrs

from ralo_server.learner.publish.tensor_file import FileLayout, Spec, layout_of

_METADATA = {"format": "pt"}


@attrs.frozen
class Shard:
    """The weights file `name` with `tensors`, one behind the other in their order."""

    name: str
    tensors: Mapping[str, Spec]

    @property
    def layout(self) -> FileLayout:
        """Where what lies in the file."""
        return layout_of(self.tensors, _METADATA)


def split(tensors: Mapping[str, Spec], most_bytes: float, stem: str) -> Sequence[Shard]:
    """Return the shards of `tensors`, in their order, in files whose names begin with `stem`; none
    has more than `most_bytes` unless one tensor does."""
    groups: list[dict[str, Spec]] = [{}]
    filled = 0
    for name, spec in tensors.items():
        size = size_of(spec)
        if groups[-1] and filled + size > most_bytes:
            groups.append({})
            filled = 0
        groups[-1][name] = spec
        filled += size
    return [
        Shard(_name(stem, number, len(groups)), group)
        for number, group in enumerate(groups, start=1)
    ]


def index_of(shards: Sequence[Shard]) -> str:
    """Return the JSON that says which shard has a tensor."""
    specs = [spec for shard in shards for spec in shard.tensors.values()]
    index = {
        "metadata": {"total_size": sum(map(size_of, specs))},
        "weight_map": {name: shard.name for shard in shards for name in shard.tensors},
    }
    return json.dumps(index, indent=1)


def size_of(spec: Spec) -> int:
    """Return the bytes of a tensor."""
    dtype, shape = spec
    return dtype.itemsize * math.prod(shape)


def _name(stem: str, number: int, count: int) -> str:
    if count == 1:
        return f"{stem}.safetensors"
    return f"{stem}-{number:05d}-of-{count:05d}.safetensors"

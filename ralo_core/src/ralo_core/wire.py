"""The wire format: every binary body is a safetensors file with its JSON in the header.

Client and server use this module alone for binary bodies; JSON bodies are in `ralo_core.messages`.
It maps value types to `(header, tensors)` and back and opens no sockets. There is no pickle
anywhere.
"""

import json
import math
import mmap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ralo_core.data import Batch, Problem, RolloutTree
from ralo_core.errors import DataError, WireError
from ralo_core.files import dtypes
from ralo_core.structuring import structure

CONTENT_TYPE = "application/vnd.safetensors"
_KEY = "ralo"

Tensors = Mapping[str, npt.NDArray[Any]]

_TREE_ARRAYS = {
    "prompt": np.int32,
    "parents": np.int32,
    "offsets": np.int32,
    "tokens": np.int32,
    "logprobs": np.float32,
    "versions": np.int32,
    "leaves": np.int32,
    "rewards": np.float32,
}
"""The arrays of a tree, each required; a reader passes over arrays that it does not know."""


def pack(header: Mapping[str, Any], tensors: Tensors) -> bytes:
    """Return a safetensors body with `header` as JSON in its metadata."""
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    text = json.dumps(header, ensure_ascii=False, allow_nan=False)
    body: bytes = save(arrays, {_KEY: text})
    return body


@attrs.frozen(eq=False)
class Body:
    """A safetensors body as the buffers that it is made of, in order: nothing is copied."""

    buffers: Sequence[memoryview]

    def __len__(self) -> int:
        """Return the bytes of the body."""
        return sum(buffer.nbytes for buffer in self.buffers)

    def part(self, start: int, stop: int) -> "Body":
        """Return bytes ``start:stop``, cut at the end of the body."""
        return Body(list(self._cut(start, stop)))

    def __iter__(self) -> Iterator[memoryview]:
        return iter(self.buffers)

    def _cut(self, start: int, stop: int) -> Iterator[memoryview]:
        begin = 0
        for buffer in self.buffers:
            end = begin + buffer.nbytes
            if begin < stop and start < end:
                yield buffer[max(0, start - begin) : stop - begin]
            begin = end


Spec = tuple[np.dtype[Any], tuple[int, ...]]
"""dtype and shape of a tensor."""


def view(header: Mapping[str, Any], tensors: Tensors) -> Body:
    """Return the body that `pack` would give, as views of the memory of `tensors`."""
    arrays = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    specs = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    prefix, extents = lay_out(header, specs)
    return Body([memoryview(prefix), *(memory_of(arrays[name]) for name in extents)])


def lay_out(
    header: Mapping[str, Any], specs: Mapping[str, Spec]
) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Return the first bytes of a body with `header` and tensors of `specs`, and where in the body
    each tensor begins and ends, in the order of the bytes."""
    # The widest types come first, so that every tensor begins at a multiple of its item size.
    ordered = sorted(specs.items(), key=lambda item: -item[1][0].itemsize)
    text = json.dumps(header, ensure_ascii=False, allow_nan=False)
    entries: dict[str, Any] = {"__metadata__": {_KEY: text}}
    extents, offset = {}, 0
    for name, (dtype, shape) in ordered:
        end = offset + dtype.itemsize * math.prod(shape)
        extents[name] = offset, end
        entries[name] = {
            "dtype": dtypes.NAMES[dtype], "shape": shape, "data_offsets": extents[name]
        }  # fmt: skip
        offset = end
    head = json.dumps(entries, ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    prefix = len(head).to_bytes(8, "little") + head
    shifted = {name: (len(prefix) + a, len(prefix) + b) for name, (a, b) in extents.items()}
    return prefix, shifted


def memory_of(array: npt.NDArray[Any]) -> memoryview:
    """Return the bytes of an array, as they are sent."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def unpack(body: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return header and tensors of a body, or raise `WireError` saying what is wrong with it."""
    try:
        tensors = load(body)
    except (SafetensorError, KeyError, ValueError) as error:
        msg = f"the body is not a safetensors file: {error}"
        raise WireError(msg) from error
    return read_header(body), tensors


def read_header(body: bytes | mmap.mmap) -> dict[str, Any]:
    """Return the JSON header of a body, its beginning or a mapped file, without the tensors."""
    size = int.from_bytes(body[:8], "little")
    try:
        header = json.loads(body[8 : 8 + size])["__metadata__"][_KEY]
        decoded = json.loads(header)
    except (ValueError, KeyError, TypeError) as error:
        msg = f"the safetensors header carries no '{_KEY}' JSON: {error!r}"
        raise WireError(msg) from error
    if not isinstance(decoded, dict):
        msg = f"the '{_KEY}' JSON of the safetensors header is not an object"
        raise WireError(msg)
    return decoded


def tree_to_parts(tree: RolloutTree) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return the JSON and the arrays of a tree."""
    header = {
        "problem_id": tree.problem_id,
        "lease_id": tree.lease_id,
        "finish_reasons": list(tree.finish_reasons),
        "temperature": tree.temperature,
        "metadata": dict(tree.metadata),
        "reward_parts": list(tree.reward_parts),
    }
    tensors = {name: getattr(tree, name) for name in _TREE_ARRAYS}
    for name, part in tree.reward_parts.items():
        tensors[f"reward_parts.{name}"] = part
    return header, tensors


def tree_from_parts(header: Mapping[str, Any], tensors: Tensors) -> RolloutTree:
    """Return the validated tree, or raise `WireError` naming the tensor or field at fault."""
    try:
        arrays = {name: _array(tensors, name, dtype) for name, dtype in _TREE_ARRAYS.items()}
        parts = {
            name: _array(tensors, f"reward_parts.{name}", np.float32)
            for name in header["reward_parts"]
        }
        return RolloutTree(
            problem_id=str(header["problem_id"]),
            lease_id=str(header["lease_id"]),
            finish_reasons=tuple(header["finish_reasons"]),
            temperature=float(header["temperature"]),
            metadata=dict(header["metadata"]),
            reward_parts=parts,
            **arrays,
        ).validate()
    except DataError as error:
        raise WireError(str(error)) from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        msg = f"the body is not a rollout tree: {error!r}"
        raise WireError(msg) from error


def pack_tree(tree: RolloutTree) -> bytes:
    """Return the body of ``POST /upload``."""
    return pack(*tree_to_parts(tree))


def unpack_tree(body: bytes) -> RolloutTree:
    """Return the tree of an upload body, validated."""
    return tree_from_parts(*unpack(body))


def pack_batch(batch_id: str, expires: float, bodies: Sequence[bytes]) -> bytes:
    """Return the body of ``GET /get``: the bodies of its trees as they were uploaded, in order.

    Each is a tensor of bytes, named by its place. A body in a body, so that whoever stores trees
    need not take them apart for a batch.
    """
    specs = {str(place): (np.dtype(np.uint8), (len(body),)) for place, body in enumerate(bodies)}
    prefix, _ = lay_out({"id": batch_id, "expires": expires, "trees": len(bodies)}, specs)
    return b"".join((prefix, *bodies))


def unpack_batch(body: bytes) -> Batch:
    """Return the batch of a ``GET /get`` body."""
    header, tensors = unpack(body)
    try:
        trees = tuple(
            unpack_tree(tensors[str(place)].tobytes()) for place in range(header["trees"])
        )
        return Batch(id=str(header["id"]), expires=float(header["expires"]), trees=trees)
    except (KeyError, TypeError) as error:
        msg = f"the body is not a batch: {error!r}"
        raise WireError(msg) from error


def problem_from_json(data: Mapping[str, Any]) -> Problem:
    """Return the problem that plain data stands for."""
    return structure(data, Problem)


def _array(tensors: Tensors, name: str, dtype: type) -> npt.NDArray[Any]:
    value = tensors[name]
    if value.dtype != dtype or value.ndim != 1:
        msg = (
            f"tensor '{name}' must be one-dimensional {np.dtype(dtype).name}, "
            f"got {value.dtype.name}{list(value.shape)}"
        )
        raise WireError(msg)
    return value

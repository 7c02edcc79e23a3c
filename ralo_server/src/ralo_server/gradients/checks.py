"""What a gradient must be before it may touch the optimizer; every fault names its tensor.

A web process validates each upload, once, before it is queued; the learner relies on that. numpy
only, for web processes have no torch. Values are decoded slice by slice, so memory does not grow
with the model.
"""

import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from ralo_core.data import GradientUpload
from ralo_core.errors import WireError
from ralo_core.protocols import GradientCodec
from ralo_server.gradients.file import GradientFile
from ralo_server.gradients.parameters import Shapes
from ralo_server.gradients.slices import slices, sum_of_squares

DECLARATION, LAYOUT, NOT_FINITE, OUTLIER = "declaration", "layout", "not_finite", "outlier"
REASONS = (DECLARATION, LAYOUT, NOT_FINITE, OUTLIER)
"""Why a gradient is refused: each is counted by itself."""

MAX_CHUNKS = 1 << 14
NORMS_WINDOW, NORMS_NEEDED = 64, 8
"""The median is over the last `NORMS_WINDOW` accepted norms; with fewer than `NORMS_NEEDED` of them
no gradient is refused for its norm."""

_SLICE_VALUES = 1 << 20
"""Values that are decoded together: 4 MiB as float32. The slices of a step are shorter, for there
weights and moments must fit into the processor's cache, too."""
_BYTES_PER_VALUE = 8
_HEADER_BYTES = 1 << 24
_DIGEST = re.compile(r"[0-9a-f]{64}")


@attrs.frozen(kw_only=True)
class Inspection:
    """What validation found: `reason` and `detail` of a refusal, empty if there is none, and the
    global L2 norm with the tensor that has the largest share of its square."""

    reason: str = ""
    detail: str = ""
    norm: float = 0.0
    largest: str = ""
    share: float = 0.0


def agreed_chunk_bytes(upload: GradientUpload, limit: int) -> int:
    """Return the chunk size to use: the wished one where it makes at most `MAX_CHUNKS` chunks of
    at most `limit` bytes."""
    return min(max(upload.chunk_bytes, -(-upload.size // MAX_CHUNKS)), limit)


def check_declaration(upload: GradientUpload, codec: str, newest: int, shapes: Shapes) -> str:
    """Return what is wrong with the declaration of an upload, ``""`` if nothing is."""
    if upload.codec != codec:
        return f"the gradient is encoded with '{upload.codec}', the run uses codec '{codec}'"
    if not (math.isfinite(upload.weight) and upload.weight > 0):
        return f"weight must be a finite number above 0, got {upload.weight}"
    if not 0 <= upload.base_version <= newest:
        return f"base_version {upload.base_version} does not exist, the newest is {newest}"
    wrong = [name for name, value in upload.metrics.items() if not math.isfinite(value)]
    return f"metric '{wrong[0]}' is not finite" if wrong else _check_sizes(upload, shapes)


def inspect(path: Path, shapes: Shapes, codec: GradientCodec) -> Inspection:
    """Look at every value of an upload once: is all there, finite, and how large is it."""
    try:
        file = GradientFile(path, shapes, codec)
        if file.missing():
            return Inspection(reason=LAYOUT, detail=f"tensor '{file.missing()[0]}' is missing")
        squares = {}
        for name, shape in shapes.items():
            squares[name] = _sum_of_squares(file, name, math.prod(shape))
            if not math.isfinite(squares[name]):
                bad = _not_finite(file, name, math.prod(shape))
                detail = f"tensor '{name}' has {bad} values that are not finite"
                return Inspection(reason=NOT_FINITE, detail=detail)
    except WireError as error:
        return Inspection(reason=LAYOUT, detail=str(error))
    total, largest = math.fsum(squares.values()), max(squares, key=squares.__getitem__)
    share = squares[largest] / total if total else 0.0
    return Inspection(norm=math.sqrt(total), largest=largest, share=share)


def check_norm(found: Inspection, accepted: Sequence[float], ratio: float) -> Inspection:
    """Return `found`, refused if its norm is above `ratio` times the median of `accepted`.

    A `ratio` of 0 refuses nothing, nor do fewer than `NORMS_NEEDED` norms or a median of 0.
    """
    if found.reason or not ratio or len(accepted) < NORMS_NEEDED:
        return found
    median = statistics.median(accepted)
    if not median or found.norm <= ratio * median:
        return found
    detail = (
        f"the gradient's norm {found.norm:.4g} is above {ratio:g} (server.max_norm_ratio) times "
        f"{median:.4g}, the median of the last {len(accepted)} accepted; tensor "
        f"'{found.largest}' has the largest share, {found.share:.0%} of its square"
    )
    return attrs.evolve(found, reason=OUTLIER, detail=detail)


def _check_sizes(upload: GradientUpload, shapes: Shapes) -> str:
    values = sum(math.prod(shape) for shape in shapes.values())
    largest = values * _BYTES_PER_VALUE + _HEADER_BYTES
    if not 0 < upload.size <= largest:
        return f"size must lie in [1, {largest}] bytes for {values} values, got {upload.size}"
    if upload.chunk_bytes < 1:
        return f"chunk_bytes must be at least 1, got {upload.chunk_bytes}"
    chunks = -(-upload.size // upload.chunk_bytes)
    if len(upload.chunk_digests) != chunks:
        return f"{upload.size} bytes are {chunks} chunks, got {len(upload.chunk_digests)} digests"
    wrong = [digest for digest in upload.chunk_digests if not _DIGEST.fullmatch(digest)]
    return f"chunk_digests has {wrong[0]!r}, which is no {upload.digest}" if wrong else ""


def _sum_of_squares(file: GradientFile, name: str, size: int) -> float:
    """Return it; what is not finite means that one of the values is not."""
    return math.fsum(
        sum_of_squares(file.values(name, start, stop))
        for start, stop in slices(size, _SLICE_VALUES)
    )


def _not_finite(file: GradientFile, name: str, size: int) -> int:
    return sum(
        stop - start - int(np.isfinite(file.values(name, start, stop)).sum())
        for start, stop in slices(size, _SLICE_VALUES)
    )

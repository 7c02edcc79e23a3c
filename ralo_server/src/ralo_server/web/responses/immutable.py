"""Answers to requests for a file that never changes: all of it, a range, or 304.

The sha256 of its content is its ETag, and any cache may keep it without end.
"""

from pathlib import Path

import falcon

from ralo_core.data import WeightFile
from ralo_server.web.responses.file_range import FileRange

_FOR_EVER = ("public", "max-age=31536000", "immutable")


def send_immutable(
    request: falcon.Request, response: falcon.Response, path: Path, file: WeightFile
) -> None:
    """Answer GET or HEAD with `file`, which lies at `path`, without reading it into memory.

    Raises 404 if it was removed a moment ago, and 416 for a range that is not in it.
    """
    if any(tag in ("*", file.sha256) for tag in request.if_none_match or ()):
        _describe(response, file)
        response.status = falcon.HTTP_304
        return
    bounds = _bounds(request, file)
    first, last = bounds or (0, file.size - 1)
    length = last - first + 1
    if request.method != "HEAD":
        body = _open(path, first, length)
        # There is no sendfile through TLS, and gunicorn would then send blocks of 8 KiB.
        response.stream = body if request.scheme == "http" else body.blocks()
    _describe(response, file)
    response.content_type = "application/octet-stream"
    response.content_length = length
    if bounds is not None:
        response.status = falcon.HTTP_206
        response.content_range = (first, last, file.size)


def _describe(response: falcon.Response, file: WeightFile) -> None:
    response.etag = file.sha256
    response.cache_control = _FOR_EVER
    response.accept_ranges = "bytes"


def _open(path: Path, first: int, length: int) -> FileRange:
    try:
        # Without a buffer the position of the descriptor is that of the object.
        return FileRange(path.open("rb", buffering=0), first, length)
    except FileNotFoundError:
        raise falcon.HTTPNotFound(title="no such version", description="just pruned") from None


def _bounds(request: falcon.Request, file: WeightFile) -> tuple[int, int] | None:
    """Return the first and last byte asked for; None where the whole file is sent.

    Several ranges at once, another unit and an ``If-Range`` of something else ask for all of it.
    """
    header = request.get_header("Range") or ""
    if not header.startswith("bytes=") or "," in header:
        return None
    if request.get_header("If-Range") not in (None, f'"{file.sha256}"'):
        return None
    asked = request.range  # falcon gives -1 for an open end, a negative start for a tail
    if asked is None:
        return None
    first, last = asked
    if first < 0:
        first, last = max(0, file.size + first), file.size - 1
    last = file.size - 1 if last < 0 else min(last, file.size - 1)
    if first > last:
        raise falcon.HTTPRangeNotSatisfiable(file.size)
    return first, last

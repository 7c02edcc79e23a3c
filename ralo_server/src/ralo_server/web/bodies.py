"""Reading request bodies: their length is known, bounded and checked against what arrives.

Neighbours: every resource that takes a body. gunicorn gives a short body without an error when
a client dies in the middle, and nothing at all for a chunked one; both must not look complete.
"""

import json
from collections.abc import Iterator
from typing import Any, TypeVar

import falcon

from ralo_core.structuring import structure

T = TypeVar("T")
_BLOCK = 1 << 20
MIB = 1 << 20
_JSON_LIMIT = 16 * MIB


def checked_length(request: falcon.Request, limit: int) -> int:
    """Return Content-Length; raises 411 without one and 413 above `limit` bytes."""
    length = request.content_length
    if length is None:
        raise falcon.HTTPLengthRequired(
            title="length required", description="send a Content-Length; chunked is not accepted"
        )
    if length > limit:
        raise falcon.HTTPContentTooLarge(
            title="body too large",
            description=f"{length} bytes, at most {limit} are accepted (server.max_body_mb)",
        )
    return int(length)


def read_blocks(request: falcon.Request, length: int) -> Iterator[bytes]:
    """Yield the body in blocks; raises 400 if it ends before `length` bytes."""
    left = length
    while left:
        block = request.stream.read(min(left, _BLOCK))
        if not block:
            raise falcon.HTTPBadRequest(
                title="body ended early", description=f"{left} of {length} bytes are missing"
            )
        left -= len(block)
        yield block


def drain(request: falcon.Request, length: int) -> None:
    """Read and drop what is left of a body of `length` bytes, so that its sender hears an answer:
    the connection is closed over a long rest, and the answer would go down with it."""
    while length and (block := request.stream.read(min(length, _BLOCK))):
        length -= len(block)


def read_body(request: falcon.Request, limit: int) -> bytes:
    """Return the whole body."""
    return b"".join(read_blocks(request, checked_length(request, limit)))


def read_json(request: falcon.Request, kind: type[T]) -> T:
    """Return the JSON body as a `kind`; raises 400 for no JSON and 422 for wrong fields."""
    body = read_body(request, _JSON_LIMIT)
    try:
        data: Any = json.loads(body)
    except ValueError as error:
        raise falcon.HTTPBadRequest(title="not JSON", description=str(error)) from error
    return structure(data, kind)


def worker_of(request: falcon.Request) -> str:
    """Return who asks; raises 400 where the header is missing."""
    return str(request.get_header("X-Ralo-Worker", required=True))

"""Reading what a client sends: bodies of a known, bounded length, names, numbers.

Whatever may become a row or a file name is checked here. gunicorn gives a short body without an
error when a client dies in the middle, and nothing at all for a chunked one; both must not look
complete.
"""

import json
import math
from collections.abc import Iterator
from typing import Any, TypeVar

import falcon

from ralo_core.identifiers import RULE, is_identifier
from ralo_core.structuring import structure
from ralo_server.web.requests.socket_body import is_from_socket, received_blocks
from ralo_server.web.responses.problem_documents import invalid

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


def read_blocks(request: falcon.Request, length: int) -> Iterator[bytes | memoryview]:
    """Yield the body in blocks, each of which is valid until the next; raises 400 if it ends
    before `length` bytes."""
    left = length
    for block in _blocks(request.stream, length):
        left -= len(block)
        yield block
    if left:
        raise falcon.HTTPBadRequest(
            title="body ended early", description=f"{left} of {length} bytes are missing"
        )


def _blocks(stream: Any, length: int) -> Iterator[bytes | memoryview]:
    if is_from_socket(stream):
        yield from received_blocks(stream)
        return
    while length and (block := stream.read(min(length, _BLOCK))):
        length -= len(block)
        yield block


def drain(request: falcon.Request, length: int) -> None:
    """Read and drop what is left of a body of `length` bytes, so that its sender gets the reply:
    the connection is closed over a long rest, and the reply would be lost with it."""
    while length and (block := request.stream.read(min(length, _BLOCK))):
        length -= len(block)


def read_body(request: falcon.Request, limit: int) -> bytes:
    """Return the whole body."""
    return b"".join(map(bytes, read_blocks(request, checked_length(request, limit))))


def read_json(request: falcon.Request, kind: type[T], limit: int = _JSON_LIMIT) -> T:
    """Return the JSON body as a `kind`; raises 400 for no JSON and 422 for wrong fields."""
    body = read_body(request, limit)
    try:
        data: Any = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise falcon.HTTPBadRequest(title="not JSON", description=str(error)) from error
    return structure(data, kind)


def worker_of(request: falcon.Request) -> str:
    """Return who asks; raises 400 where the header is missing and 422 for no identifier."""
    return identifier_header(request, "X-Ralo-Worker")


def identifier_header(request: falcon.Request, name: str) -> str:
    """Return a header that names something; raises 400 without it and 422 for no identifier."""
    return checked_identifier(name, request.get_header(name, required=True))


def request_key(request: falcon.Request) -> str | None:
    """Return the key under which a grant is remembered, None where the client gives none."""
    key = request.get_header("Idempotency-Key")
    return None if key is None else checked_identifier("Idempotency-Key", key)


def checked_identifier(name: str, value: str) -> str:
    """Return `value`; raises 422 if it is no identifier."""
    if not is_identifier(value):
        raise invalid(f"{name} must be {RULE}, got {value[:40]!r}")
    return value


def wait_of(request: falcon.Request) -> float:
    """Return how many seconds the client waits for a reply; raises 400 for no such number."""
    seconds = request.get_param_as_float("wait", default=0.0, min_value=0.0)
    if not math.isfinite(seconds):
        raise falcon.HTTPInvalidParam("it must be a finite number of seconds", "wait")
    return float(seconds)


def _refuse_constant(name: str) -> float:
    msg = f"{name} is no JSON"
    raise ValueError(msg)

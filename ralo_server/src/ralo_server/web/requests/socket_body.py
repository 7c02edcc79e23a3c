"""The body of a request straight from its socket, into one buffer that is used over and over.

gunicorn's own stream copies every
byte three times, into fresh memory each time, which takes more CPU than receiving it. What
gunicorn knows of a body is kept right, so that it finds the next request on the connection.
"""

from collections.abc import Iterator
from typing import Any

from gunicorn.http.body import LengthReader
from gunicorn.http.unreader import SocketUnreader

_BUFFER = 1 << 18  # fits the processor's cache: the digest and the write find it there


def is_from_socket(stream: Any) -> bool:
    """Say whether `stream` is gunicorn's, of a body of known length that nobody has read from."""
    reader = getattr(stream, "reader", None)
    return isinstance(reader, LengthReader) and isinstance(reader.unreader, SocketUnreader)


def received_blocks(stream: Any) -> Iterator[bytes | memoryview]:
    """Yield the body in blocks, each of which is valid until the next; fewer bytes than were
    announced if the client goes away."""
    reader = stream.reader
    held = reader.unreader.take_buffered()  # came together with the headers
    reader.unreader.unread(held)
    if held and reader.length:
        yield reader.read(len(held))
    buffer = memoryview(bytearray(min(_BUFFER, reader.length)))
    while reader.length:
        count = _receive(stream, buffer[: min(_BUFFER, reader.length)])
        if not count:
            return
        reader.length -= count
        yield buffer[:count]


def _receive(stream: Any, buffer: memoryview) -> int:
    try:
        return int(stream.reader.unreader.sock.recv_into(buffer))
    except OSError:
        stream.failed = True  # where the next request begins is not known any more
        raise

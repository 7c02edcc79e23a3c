"""A bad network: an HTTP proxy that cuts, delays, drops answers, and sends requests twice.

It stands between workers and orchestrator. It knows HTTP/1.1 with a
Content-Length and nothing of RALO: one request per connection, its bytes forwarded as they are.
"""

import asyncio
import contextlib
import random
import socket
import threading
from collections import Counter

_BROKEN = (OSError, asyncio.IncompleteReadError)
_LONGEST_DELAY = 0.3
_LATE_SECONDS = 2.0

FAULTS = {
    "cut before": 0.02,
    "cut within": 0.03,
    "answer lost": 0.04,
    "sent twice": 0.05,
    "sent again later": 0.03,
    "delayed": 0.25,
}
"""Share of the requests that meet each fault."""


class Proxy:
    """Listens on a free port, forwards to `port`; `counts` says what happened how often."""

    def __init__(self, port, seed):
        self.target, self.counts, self.calm = port, Counter(), False
        self._dice = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._tasks, self._started = set(), threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._started.wait()

    @property
    def url(self):
        """Where the workers connect to."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self):
        """Stop listening and forwarding."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _serve(self):
        asyncio.run(self._until_closed())

    async def _until_closed(self):
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._handle, sock=self._listener):
            self._started.set()
            await self._ended.wait()

    def _draw(self):
        if not self.calm:
            dice = self._dice.random()
            for fault, share in FAULTS.items():
                dice -= share
                if dice < 0:
                    self.counts[fault] += 1
                    return fault
        self.counts["forwarded"] += 1
        return ""

    async def _handle(self, reader, writer):
        self._keep(asyncio.current_task())
        with contextlib.suppress(*_BROKEN):
            request = await _read_request(reader)
            await self._meet(self._draw(), request, writer)
        writer.close()

    async def _meet(self, fault, request, writer):
        if fault == "cut before":
            return
        if fault == "cut within":
            await self._send_half(request)
            return
        if fault == "delayed":
            await asyncio.sleep(self._dice.uniform(0, _LONGEST_DELAY))
        if fault == "sent twice":
            self._send_later(request, 0.0)
        if fault == "sent again later":
            self._send_later(request, self._dice.uniform(0, _LATE_SECONDS))
        answer = await self._forward(request)
        if fault != "answer lost":
            writer.write(answer)
            await writer.drain()

    def _send_later(self, request, seconds):
        """Send `request` once more, with nobody to hear the answer."""
        self._keep(asyncio.ensure_future(self._send_again(request, seconds)))

    def _keep(self, task):
        """Hold a task until it is done: the event loop alone does not."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_again(self, request, seconds):
        await asyncio.sleep(seconds)
        with contextlib.suppress(*_BROKEN):
            await self._forward(request)

    async def _send_half(self, request):
        _, writer = await asyncio.open_connection("127.0.0.1", self.target)
        writer.write(request[: self._dice.randrange(len(request))])
        await writer.drain()
        writer.close()

    async def _forward(self, request):
        """Send `request` and return the bytes of its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()


async def _read_request(reader):
    """Return the bytes of one request, which asks for the connection to be closed after it."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head[:-4].split(b"\r\n")
    headers = [line for line in lines[1:] if not line.lower().startswith(b"connection:")]
    length = 0
    for line in headers:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    body = await reader.readexactly(length)
    return b"\r\n".join([lines[0], *headers, b"Connection: close", b"", b""]) + body

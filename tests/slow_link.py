"""A slow network: a TCP forwarder of bounded speed that counts what comes back through it."""

import asyncio
import contextlib
import socket
import threading

_BLOCK = 256 << 10


class SlowLink:
    """Listens on a free port, forwards to `port`; at most `speed` bytes a second come back, and go
    there if `both`.

    `received` counts what comes back. With `broken` set every connection ends at once.
    """

    def __init__(self, port, speed, both=False):
        self.port, self.speed, self.received, self.broken = port, speed, 0, False
        self.both = both
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._free_at, self._tasks = {"back": 0.0, "there": 0.0}, set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._started.wait()

    def close(self):
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _serve(self):
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._connect, sock=self._listener):
            self._started.set()
            await self._ended.wait()

    async def _connect(self, reader, writer):
        if self.broken:
            writer.close()
            return
        back, forth = await asyncio.open_connection("127.0.0.1", self.port)
        answers = asyncio.ensure_future(self._pump(back, writer, "back"))
        self._tasks.add(answers)
        answers.add_done_callback(self._tasks.discard)
        await self._pump(reader, forth, "there" if self.both else None)

    async def _pump(self, reader, writer, way):
        with contextlib.suppress(OSError):
            while block := await reader.read(_BLOCK):
                if way is not None:
                    await self._spend(way, len(block))
                writer.write(block)
                await writer.drain()
        writer.close()

    async def _spend(self, way, count):
        """Wait until this way of the link, which all connections share, has carried `count` more
        bytes."""
        now = self._loop.time()
        self._free_at[way] = max(self._free_at[way], now) + count / self.speed
        self.received += count if way == "back" else 0
        await asyncio.sleep(self._free_at[way] - now)

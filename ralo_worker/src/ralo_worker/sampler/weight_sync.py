"""Which weights the engine samples with.

A newer version is staged on this machine while the engine decodes with the old one. Only the swap
itself makes decoding pause. For an evaluation of one version the weights are held still.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from ralo_core.client import Client
from ralo_core.data import VersionDelay
from ralo_core.protocols import InferenceEngine
from ralo_worker.membership import Activity
from ralo_worker.server_clock import ServerClock
from ralo_worker.weights.cache import WeightsCache
from ralo_worker.weights.local_version import LocalVersion

log = logging.getLogger(__name__)

WAIT_SECONDS = 2.0
_LOOK_SECONDS = 0.005
_REMEMBERED = 64


@attrs.define(kw_only=True)
class WeightSync:
    """The weights of `engine`, which was opened with those of `newest`."""

    client: Client
    cache: WeightsCache
    engine: InferenceEngine
    newest: LocalVersion
    clock: ServerClock
    activity: Activity
    delays: deque[VersionDelay] = attrs.field(factory=lambda: deque(maxlen=_REMEMBERED), init=False)
    """Where the time went for the last versions that a token was decoded with."""
    _lock: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)
    _first_token: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    async def follow(self) -> None:
        """Swap in every version that is newer than the newest known, until cancelled."""
        while True:
            known = self.newest.version.number
            announced = await asyncio.to_thread(self.client.version, known, WAIT_SECONDS)
            if announced is None:
                continue
            # Of two versions in quick succession the first was announced, the second is staged.
            notice = max(0.0, self.clock.now() - announced.created)  # no clock is exact
            noticed = time.monotonic()
            staged = await asyncio.to_thread(self.cache.newest, known)
            if staged is not None:
                await self._take(staged, notice, noticed)

    async def _take(self, staged: LocalVersion, notice: float, noticed: float) -> None:
        self.activity.fetched(staged)
        self.newest, here = staged, time.monotonic()
        async with self._lock:
            if self.engine.version < staged.version.number:  # else an evaluation has swapped it in
                await self._activate(staged)
        active = time.monotonic()
        delay = VersionDelay(
            version=staged.version.number,
            notice=notice,
            staging=here - noticed,
            activation=active - here,
            first_token=0.0,
        )
        if self._first_token is not None:
            self._first_token.cancel()
        self._first_token = asyncio.create_task(self._record_first_token(delay, active))

    async def stage(self, number: int) -> LocalVersion:
        """Stage version `number`; raises `ServerError` 404 if it was pruned."""
        version = await asyncio.to_thread(self.client.manifest, number)
        staged = await asyncio.to_thread(self.cache.stage, version)
        self.activity.fetched(staged)
        return staged

    @asynccontextmanager
    async def held_at(self, number: int) -> AsyncIterator[None]:
        """Keep the engine at version `number`, then go back to the newest one."""
        async with self._lock:
            if self.engine.version != number:
                await self._activate(await self.stage(number))
            yield
            if self.engine.version < self.newest.version.number:
                await self._activate(self.newest)

    async def _activate(self, staged: LocalVersion) -> None:
        pause = await self.engine.load_weights(staged.version.number, staged.directory)
        self.activity.activated(staged, pause)
        log.info(
            "version %d: %d bytes fetched in %.2f s, decoding paused for %.3f s",
            staged.version.number, staged.bytes, staged.seconds, pause,
        )  # fmt: skip

    async def _record_first_token(self, delay: VersionDelay, active: float) -> None:
        """Wait for the first token after the swap, then record `delay` with it."""
        before = self.engine.stats().decoded_tokens
        while self.engine.stats().decoded_tokens == before:
            await asyncio.sleep(_LOOK_SECONDS)
        delay = attrs.evolve(delay, first_token=time.monotonic() - active)
        self.delays.append(delay)
        self.activity.weights = attrs.evolve(self.activity.weights, last=delay)

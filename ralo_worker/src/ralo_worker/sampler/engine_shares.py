"""Two shares of one engine: one for rollouts, one for the evaluation that runs at the same time.

An engine serves requests in the order of their arrival, so a caller that sends many at once makes
the other caller wait. Therefore each share has places that the other cannot take. A request for
which there is no place waits here, in front of the engine, where a request of the other share can
overtake it. Sampling algorithms get the share of rollouts as their engine.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ralo_core import Completion, EngineStats, GenerationRequest
from ralo_core.protocols import InferenceEngine

_BACKLOG = 2
"""Requests of rollouts in the engine for each that fits at once, so that it is never idle."""


class EngineShare:
    """An `InferenceEngine` in front of `engine`; `room` returns how many requests may enter it now.

    All calls must come from one event loop.
    """

    def __init__(self, engine: InferenceEngine, room: Callable[[], int]) -> None:
        self.engine = engine
        self.capacity = engine.capacity
        self.max_length = engine.max_length
        self.eos_token_ids = engine.eos_token_ids
        self.asked = 0
        """Requests without a completion yet."""
        self.inside = 0
        """Those of them that are in the engine; the others wait for room."""
        self.decoded = 0
        """Tokens of all completions so far."""
        self.changed: Callable[[], None] = lambda: None
        """Called whenever these counts have changed."""
        self._room = room
        self._turn = asyncio.Lock()
        self._moved = asyncio.Event()

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        """Return one completion per request, in order; the first call enters the engine first."""
        self._count(asked=len(requests))
        try:
            if len(requests) <= self._room() and not self._turn.locked():
                return await self._let_in(requests)
            return await self._one_by_one(requests)
        finally:
            self._count(asked=-len(requests))

    async def _one_by_one(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        """Let each request in as soon as there is room, not all of them together."""
        tasks: list[asyncio.Task[list[Completion]]] = []
        try:
            async with self._turn:
                for request in requests:
                    await self._some_room()
                    tasks.append(self._let_in([request]))
            return [done for some in await asyncio.gather(*tasks) for done in some]
        finally:
            for task in tasks:
                task.cancel()

    async def _some_room(self) -> None:
        while self._room() < 1:
            self._moved.clear()
            await self._moved.wait()

    def _let_in(self, requests: Sequence[GenerationRequest]) -> asyncio.Task[list[Completion]]:
        self._count(inside=len(requests))
        task = asyncio.ensure_future(self.engine.generate(requests))
        task.add_done_callback(lambda _: self._left(task, len(requests)))
        return task

    def _left(self, task: asyncio.Task[list[Completion]], count: int) -> None:
        if not task.cancelled() and task.exception() is None:
            self.decoded += sum(len(done.tokens) for done in task.result())
        self._count(inside=-count)

    def _count(self, asked: int = 0, inside: int = 0) -> None:
        self.asked += asked
        self.inside += inside
        self.changed()

    def look_again(self) -> None:
        """Wake the requests that wait for room."""
        self._moved.set()

    @property
    def version(self) -> int:
        """The engine's weight version."""
        return self.engine.version

    async def load_weights(self, version: int, directory: Path) -> float:
        """Swap weights for both shares."""
        return await self.engine.load_weights(version, directory)

    def stats(self) -> EngineStats:
        """Return how busy the engine is, with both shares."""
        return self.engine.stats()

    async def close(self) -> None:
        """Stop the engine."""
        await self.engine.close()


class EngineShares:
    """The two shares of `engine`.

    While both want more than there is, an evaluation has `fraction` of the engine's places and
    rollouts have the others. Places that one share does not ask for are the other's.
    """

    def __init__(self, engine: InferenceEngine, fraction: float) -> None:
        self.engine = engine
        self.rollouts = EngineShare(engine, self._room_of_rollouts)
        self.evaluation = EngineShare(engine, self._room_of_evaluation)
        self.rollouts.changed = self.evaluation.changed = self._changed
        self.on_change: Callable[[], None] = lambda: None
        """Called whenever the counts of a share have changed."""
        self._places = max(1, round(fraction * engine.capacity))
        self._evaluating = self._reserved = False
        self._changes = asyncio.Event()

    @property
    def outside(self) -> int:
        """Requests that wait for room."""
        shares = (self.rollouts, self.evaluation)
        return sum(share.asked - share.inside for share in shares)

    @property
    def evaluation_part(self) -> float:
        """The part of the engine's work, 0 to 1, that is for the evaluation now."""
        inside = self.evaluation.inside + self.rollouts.inside
        return self.evaluation.inside / inside if inside else 0.0

    @asynccontextmanager
    async def evaluating(self) -> AsyncIterator[EngineShare]:
        """Yield the evaluation's share, once rollouts have left its places."""
        self._evaluating = self._reserved = True
        try:
            while self.rollouts.inside > self._places_of_rollouts():
                self._changes.clear()
                await self._changes.wait()
            yield self.evaluation
        finally:
            self._evaluating = self._reserved = False
            self._changed()

    def _places_of_rollouts(self) -> int:
        return max(1, self.engine.capacity - self._places)

    def _room_of_rollouts(self) -> int:
        if not self._evaluating:
            return _BACKLOG * self.engine.capacity - self.rollouts.inside
        claimed = self._places if self._reserved else min(self._places, self.evaluation.asked)
        return self._room(self.rollouts, self._places_of_rollouts(), claimed)

    def _room_of_evaluation(self) -> int:
        claimed = min(self._places_of_rollouts(), self.rollouts.asked)
        return self._room(self.evaluation, self._places, claimed)

    def _room(self, share: EngineShare, places: int, claimed: int) -> int:
        """Return the free places for `share`: it has `places` of its own, and all that the other
        share, which claims `claimed`, leaves."""
        return max(places, self.engine.capacity - claimed) - share.inside

    def _changed(self) -> None:
        if self.evaluation.asked:
            self._reserved = False  # from now on its claim is what it asks for
        self._changes.set()
        self.rollouts.look_again()
        self.evaluation.look_again()
        self.on_change()

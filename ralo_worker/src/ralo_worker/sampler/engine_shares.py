"""Two lanes into one engine: rollouts, and the evaluation that runs beside them.

Neighbours: sampling algorithms get the lane of rollouts as their engine, `evaluation` the other
one; `sizing` is told how much the lanes ask for. An engine serves who came first, so whoever asks
for much at once would make the other wait; here each lane has places that the other cannot take,
and what the engine has no place for waits where it can be overtaken. It knows neither problems nor
weights.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ralo_core import Completion, EngineStats, GenerationRequest
from ralo_core.protocols import InferenceEngine

_BACKLOG = 2
"""Rollouts may have so many requests in the engine for each that fits: it is never idle."""


class EngineShare:
    """An `InferenceEngine` in front of `engine`; `room` says how many requests it may let in now.
    For one event loop."""

    def __init__(self, engine: InferenceEngine, room: Callable[[], int]) -> None:
        self.engine = engine
        self.capacity = engine.capacity
        self.max_length = engine.max_length
        self.eos_token_ids = engine.eos_token_ids
        self.asked = 0
        """Requests that are not answered yet."""
        self.inside = 0
        """Those of them that the engine has; the others wait for room."""
        self.decoded = 0
        """Tokens of the requests that it has answered."""
        self.changed: Callable[[], None] = lambda: None
        """Called whenever these counts have changed."""
        self._room = room
        self._turn = asyncio.Lock()
        self._moved = asyncio.Event()

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        """Return one completion per request, in order; whoever came first gets in first."""
        self._count(asked=len(requests))
        try:
            if len(requests) <= self._room() and not self._turn.locked():
                return await self._let_in(requests)
            return await self._one_by_one(requests)
        finally:
            self._count(asked=-len(requests))

    async def _one_by_one(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        """Let in each when there is room for it, so that each leaves when it is done."""
        tasks: list[asyncio.Task[list[Completion]]] = []
        try:
            async with self._turn:
                for request in requests:
                    await self._some_room()
                    tasks.append(self._let_in([request]))
            return [done for answer in await asyncio.gather(*tasks) for done in answer]
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
        """Let those who wait ask for room again."""
        self._moved.set()

    @property
    def version(self) -> int:
        """The engine's weight version."""
        return self.engine.version

    async def load_weights(self, version: int, directory: Path) -> float:
        """Swap weights for both lanes."""
        return await self.engine.load_weights(version, directory)

    def stats(self) -> EngineStats:
        """Return how busy the engine is, with both lanes."""
        return self.engine.stats()

    async def close(self) -> None:
        """Stop the engine."""
        await self.engine.close()


class EngineShares:
    """The lanes of `engine`. An evaluation may take `share` of it from rollouts that want all of
    it; what one lane does not ask for is the other's."""

    def __init__(self, engine: InferenceEngine, share: float) -> None:
        self.engine = engine
        self.rollouts = EngineShare(engine, self._room_of_rollouts)
        self.evaluation = EngineShare(engine, self._room_of_evaluation)
        self.rollouts.changed = self.evaluation.changed = self._changed
        self.on_change: Callable[[], None] = lambda: None
        """Called whenever the counts of a lane have changed."""
        self._places = max(1, round(share * engine.capacity))
        self._evaluating = self._reserved = False
        self._changes = asyncio.Event()

    @property
    def outside(self) -> int:
        """Requests that wait for room."""
        lanes = (self.rollouts, self.evaluation)
        return sum(lane.asked - lane.inside for lane in lanes)

    @property
    def evaluation_part(self) -> float:
        """The part of the engine's work, 0 to 1, that is for the evaluation now."""
        inside = self.evaluation.inside + self.rollouts.inside
        return self.evaluation.inside / inside if inside else 0.0

    @asynccontextmanager
    async def evaluating(self) -> AsyncIterator[EngineShare]:
        """Give the evaluation's lane, once rollouts have left it its places."""
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

    def _room(self, lane: EngineShare, places: int, claimed: int) -> int:
        """Return the room of a lane that has `places` of its own if the other claims `claimed`."""
        return max(places, self.engine.capacity - claimed) - lane.inside

    def _changed(self) -> None:
        if self.evaluation.asked:
            self._reserved = False  # from now on its claim is what it asks for
        self._changes.set()
        self.rollouts.look_again()
        self.evaluation.look_again()
        self.on_change()

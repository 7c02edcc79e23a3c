"""An engine without model and time: `step` decodes one token of every running request.

For tests of what stands in front of an engine: they count steps instead of seconds.
"""

import asyncio
from collections import deque

import numpy as np

from ralo_core import Completion, EngineStats


class CountedEngine:
    """Serves who came first; a request is done after its `max_tokens` steps. `finished` lists the
    prompts of what is done, in order."""

    def __init__(self, capacity):
        self.version, self.capacity, self.max_length = 0, capacity, 1 << 20
        self.eos_token_ids = frozenset({0})
        self.finished, self.loaded, self.most = [], [], 0
        self._waiting, self._running, self._decoded = deque(), [], 0

    async def generate(self, requests):
        answers = [asyncio.get_running_loop().create_future() for _ in requests]
        self._waiting.extend(
            [request, request.max_tokens, self.version, answer]
            for request, answer in zip(requests, answers, strict=True)
        )
        self.most = max(self.most, len(self._waiting) + len(self._running))
        return list(await asyncio.gather(*answers))

    async def load_weights(self, version, directory):
        self.version = version
        self.loaded.append(version)
        return 0.25

    def stats(self):
        return EngineStats(
            running=len(self._running), waiting=len(self._waiting), prompt_tokens=0,
            cached_tokens=0, decoded_tokens=self._decoded,
        )  # fmt: skip

    async def close(self):
        pass

    async def step(self):
        """Decode a token of each running request, then let everybody have their turn."""
        self._drop_cancelled()
        while self._waiting and len(self._running) < self.capacity:
            self._running.append(self._waiting.popleft())
        self._decoded += len(self._running)
        for row in self._running:
            row[1] -= 1
            if row[1] == 0:
                self._answer(row)
        self._running = [row for row in self._running if row[1] > 0]
        for _ in range(10):
            await asyncio.sleep(0)

    def _answer(self, row):
        request, _, version, answer = row
        self.finished.append(request.prompt)
        tokens = np.ones(request.max_tokens, np.int32)
        logprobs = -np.ones(len(tokens), np.float32)
        done = Completion(tokens=tokens, logprobs=logprobs, finish_reason="length", version=version)
        answer.set_result(done)

    def _drop_cancelled(self):
        self._waiting = deque(row for row in self._waiting if not row[3].cancelled())
        self._running = [row for row in self._running if not row[3].cancelled()]

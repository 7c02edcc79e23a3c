"""Host-side state of the running batch: which row sits in which slot, and what it wrote.

Plain numpy: nothing here is on the device.
"""

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from ralo_core import Completion, GenerationRequest


@attrs.define(eq=False)
class Row:
    """A request on its way through the batch; `done` is called with its completion.

    `owner` is whatever the sender wants to find again. `version` is the weight version at
    admission: the oldest that wrote any of its tokens.
    """

    request: GenerationRequest
    done: Callable[[Completion], None]
    owner: Any = None
    version: int = 0


class SlotTable:
    """`capacity` slots of which the first `size` take part in a step, empty ones included.

    Per slot: `lengths` int64, tokens whose keys and values are stored (0 when empty);
    `inputs` int64, the token that the next step feeds; `counts` int64, tokens written.
    """

    def __init__(self, capacity: int) -> None:
        self.rows: list[Row | None] = [None] * capacity
        self.size = 0
        self.live = 0
        self.lengths = np.zeros(capacity, np.int64)
        self.inputs = np.zeros(capacity, np.int64)
        self.counts = np.zeros(capacity, np.int64)
        self._limits = np.zeros(capacity, np.int64)
        self._tokens = np.zeros((capacity, 0), np.int32)
        self._logprobs = np.zeros((capacity, 0), np.float32)
        self._entropies = np.zeros((capacity, 0), np.float32)

    @property
    def longest(self) -> int:
        """The most stored tokens of any row."""
        return int(self.lengths[: self.size].max(initial=0))

    def occupied(self) -> npt.NDArray[np.int64]:
        """Return the slots that hold a row, ascending."""
        return np.asarray([i for i in range(self.size) if self.rows[i] is not None], np.int64)

    def place(self, row: Row) -> int:
        """Put `row` into the first empty slot and return that slot."""
        slot = self.rows.index(None)
        request = row.request
        self.rows[slot] = row
        self.size = max(self.size, slot + 1)
        self.live += 1
        self.lengths[slot] = len(request.prompt) - 1
        self.inputs[slot] = request.prompt[-1]
        self.counts[slot] = 0
        self._limits[slot] = request.max_tokens
        self._widen(request.max_tokens)
        return slot

    def record(
        self, slots: npt.NDArray[np.int64], tokens: Any, logprobs: Any, entropies: Any = 0.0
    ) -> Any:
        """Append one token, log-prob and, if a row asks for it, entropy per slot; return
        bool[slots], True where a row is full."""
        places = slots, self.counts[slots]
        self._tokens[places] = tokens
        self._logprobs[places] = logprobs
        self._entropies[places] = entropies
        self.inputs[slots] = tokens
        self.lengths[slots] += 1
        self.counts[slots] += 1
        return self.counts[slots] >= self._limits[slots]

    def completion(self, slot: int, reason: str) -> Completion:
        """Return what the row in `slot` wrote."""
        row, count = self.rows[slot], self.counts[slot]
        asked = row is not None and row.request.entropies
        return Completion(
            tokens=self._tokens[slot, :count].copy(),
            logprobs=self._logprobs[slot, :count].copy(),
            finish_reason=reason,
            version=row.version if row else 0,
            entropies=self._entropies[slot, :count].copy() if asked else None,
        )

    def vacate(self, slot: int) -> None:
        """Empty a slot."""
        self.rows[slot] = None
        self.lengths[slot] = 0
        self.live -= 1

    def compact(self) -> tuple[list[int], list[int]]:
        """Move rows from the end into empty slots; return where from and where to."""
        holes = [i for i in range(self.live) if self.rows[i] is None]
        movers = [i for i in range(self.live, self.size) if self.rows[i] is not None]
        for array in self._arrays():
            array[holes] = array[movers]
        for source, target in zip(movers, holes, strict=True):
            self.rows[target], self.rows[source] = self.rows[source], None
        self.lengths[movers] = 0
        self.size = self.live
        return movers, holes

    def requests(self, idle: GenerationRequest) -> Sequence[GenerationRequest]:
        """Return the request of each of the first `size` slots, `idle` for an empty one."""
        return [row.request if row else idle for row in self.rows[: self.size]]

    def _arrays(self) -> tuple[npt.NDArray[Any], ...]:
        state = (self.lengths, self.inputs, self.counts, self._limits)
        return (*state, self._tokens, self._logprobs, self._entropies)

    def _widen(self, width: int) -> None:
        extra = width - self._tokens.shape[1]
        if extra > 0:
            self._tokens = np.pad(self._tokens, ((0, 0), (0, extra)))
            self._logprobs = np.pad(self._logprobs, ((0, 0), (0, extra)))
            self._entropies = np.pad(self._entropies, ((0, 0), (0, extra)))

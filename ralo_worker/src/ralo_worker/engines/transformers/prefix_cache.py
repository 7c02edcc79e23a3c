"""Keys and values of token prefixes that a later request is likely to continue.

A tree search sends every segment as a new request whose prompt is an older request's prompt
plus its output; with the prefix kept, such a request costs a copy instead of a forward pass.
The least recently used prefixes go first. Valid for one weight version: `clear` on each load.

Only rows that ended at their length are kept: one that ended with a stop token is not continued.
"""

from collections import OrderedDict

from torch import Tensor

Prefix = tuple[int, ...]
KeysValues = tuple[Tensor, Tensor]
"""Keys and values, [layers, heads, tokens, dim] each."""


class PrefixCache:
    """An LRU map from token prefix to `KeysValues` that holds at most `capacity` tokens."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.tokens = 0
        self._entries: OrderedDict[Prefix, KeysValues] = OrderedDict()

    def put(self, prefix: Prefix, entry: KeysValues) -> None:
        """Keep `entry` for `prefix`, dropping the oldest entries beyond the capacity."""
        if prefix in self._entries or len(prefix) > self.capacity:
            return
        self._entries[prefix] = entry
        self.tokens += len(prefix)
        while self.tokens > self.capacity:
            dropped, _ = self._entries.popitem(last=False)
            self.tokens -= len(dropped)

    def get(self, prefix: Prefix) -> KeysValues | None:
        """Return the entry of exactly this prefix, or None."""
        entry = self._entries.get(prefix)
        if entry is not None:
            self._entries.move_to_end(prefix)
        return entry

    def clear(self) -> None:
        """Forget everything: the weights that wrote it are gone."""
        self._entries.clear()
        self.tokens = 0

"""Preallocated keys and values of all running rows, and the Hugging Face cache that reads them.

Every row's tokens end at the same column, `edge`, where the next step writes: a row of length
n owns columns ``edge - n .. edge - 1``. So admitting a row is a copy into free columns, and a
step writes one column instead of concatenating everything. Attention sees columns from the
start of the longest row; what is to the left is free for later, longer rows.
"""

from collections.abc import Sequence

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

_MIN_COLUMNS = 128


class KvWindow:
    """Keys [layers, rows, heads, columns, key dim] and values likewise, grown when needed.

    `keys` and `values` show shape, dtype and device: [layers, 1, heads, 1, dim].
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.layers = keys.shape[0]
        self.edge = 0
        self._keys = keys[:, :0, :, :0]
        self._values = values[:, :0, :, :0]
        self._targets: list[tuple[Tensor, Tensor]] = []
        self._views: list[tuple[Tensor, Tensor]] = []

    def reserve(self, rows: int, used: int, left: int) -> None:
        """Make room for `rows` rows, for `left` columns before the edge and one at the edge.

        The last `used` columns before the edge are kept. The window is moved or grown only
        when it must be, and then by half its span again on both sides, so that the copy is rare.
        """
        _, have_rows, _, have_columns, _ = self._keys.shape
        span = max(left, used) + 1
        if rows <= have_rows and left <= self.edge < have_columns:
            return
        columns = max(have_columns, _MIN_COLUMNS, 2 * span)
        rows = have_rows if rows <= have_rows else max(rows, min(2 * have_rows, rows + 64))
        edge = span + (columns - span) // 4
        self._keys = self._moved(self._keys, rows, columns, used, edge)
        self._values = self._moved(self._values, rows, columns, used, edge)
        self.edge = edge

    def write(self, slots: Sequence[int], keys: Tensor, values: Tensor) -> None:
        """Put the same prefix, keys [layers, heads, n, dim], into every row of `slots`."""
        columns = slice(self.edge - keys.shape[2], self.edge)
        for slot in slots:
            self._keys[:, slot, :, columns] = keys
            self._values[:, slot, :, columns] = values

    def read(self, slot: int, length: int) -> tuple[Tensor, Tensor]:
        """Return copies of the last `length` columns of a row: [layers, heads, length, dim]."""
        columns = slice(self.edge - length, self.edge)
        return self._keys[:, slot, :, columns].clone(), self._values[:, slot, :, columns].clone()

    def move(self, sources: Sequence[int], targets: Sequence[int], used: int) -> None:
        """Copy the last `used` columns of rows `sources` over those of `targets`."""
        columns = slice(self.edge - used, self.edge)
        for buffer in (self._keys, self._values):
            buffer[:, targets, :, columns] = buffer[:, sources, :, columns]

    def open(self, rows: int, used: int) -> None:
        """Prepare a step of the first `rows` rows that sees `used` columns and the new one."""
        seen = slice(self.edge - used, self.edge + 1)
        self._targets = list(
            zip(
                self._keys[:, :rows, :, self.edge : self.edge + 1].unbind(0),
                self._values[:, :rows, :, self.edge : self.edge + 1].unbind(0),
                strict=True,
            )
        )
        self._views = list(
            zip(
                self._keys[:, :rows, :, seen].unbind(0),
                self._values[:, :rows, :, seen].unbind(0),
                strict=True,
            )
        )

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write a layer's new column, [rows, heads, 1, dim], and return all that it sees."""
        target_keys, target_values = self._targets[layer]
        target_keys.copy_(keys)
        target_values.copy_(values)
        return self._views[layer]

    @property
    def seen(self) -> int:
        """Columns that the open step sees, its own included."""
        return int(self._views[0][0].shape[2]) if self._views else 0

    def close(self) -> None:
        """End the step: its column now belongs to the rows."""
        self.edge += 1

    def _moved(self, old: Tensor, rows: int, columns: int, used: int, edge: int) -> Tensor:
        new = old.new_zeros(old.shape[0], rows, old.shape[2], columns, old.shape[4])
        new[:, : old.shape[1], :, edge - used : edge] = old[:, :, :, self.edge - used : self.edge]
        return new


class WindowCache(Cache):
    """The `transformers` cache of a decoding step: every layer reads and writes the window."""

    def __init__(self, window: KvWindow) -> None:
        super().__init__(layers=[_WindowLayer(window, index) for index in range(window.layers)])


class _WindowLayer(CacheLayerMixin):
    """One layer's face of the window. Only ever asked for one new column per step."""

    def __init__(self, window: KvWindow, index: int) -> None:
        super().__init__()
        self.window = window
        self.index = index
        self.is_initialized = True

    def lazy_initialization(self, *_: Tensor) -> None:
        """Do nothing: the window is allocated by `KvWindow.reserve`."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new column and return keys and values as attention sees them."""
        return self.window.append(self.index, key_states, value_states)

    def get_seq_length(self) -> int:
        """Return the columns before the new one."""
        return self.window.seen - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the columns that attention sees, and their offset."""
        return self.window.seen - 1 + query_length, 0

    def get_max_length(self) -> int:
        """Return -1: the window grows."""
        return -1

    get_max_cache_shape = get_max_length

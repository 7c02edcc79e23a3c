"""Metrics that are means over the trained tokens of a batch, collected over its micro-batches."""

from collections import defaultdict

import attrs
from torch import Tensor


@attrs.define
class TokenMeans:
    """Sums and counts of named values."""

    _sums: defaultdict[str, float] = attrs.field(factory=lambda: defaultdict(float))
    _counts: defaultdict[str, int] = attrs.field(factory=lambda: defaultdict(int))

    def add(self, name: str, values: Tensor, mask: Tensor) -> None:
        """Add `values` [R, C] where `mask` bool[R, C] holds."""
        self._sums[name] += float(values.detach()[mask].double().sum())
        self._counts[name] += int(mask.sum())

    def extend(self, other: "TokenMeans") -> None:
        """Add all that `other` collected."""
        for name, value in other._sums.items():
            self._sums[name] += value
            self._counts[name] += other._counts[name]

    def metrics(self) -> dict[str, float]:
        """Return the mean of each."""
        return {name: value / self._counts[name] for name, value in self._sums.items()}

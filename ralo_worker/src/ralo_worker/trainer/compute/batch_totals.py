"""What is summed over the micro-batches of a batch, beside the gradient itself.

Everything is on the CPU and can be sent, so that ranks which computed parts of a batch can merge
what they have.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import attrs

from ralo_worker.trainer.compute.off_policy import Distance
from ralo_worker.trainer.compute.token_means import TokenMeans


@attrs.define
class BatchTotals:
    """The loss's normaliser and metrics, summed; distance from what sampled; means over tokens."""

    normaliser: float = 0.0
    metrics: defaultdict[str, float] = attrs.field(factory=lambda: defaultdict(float))
    distance: Distance = attrs.field(factory=Distance)
    means: TokenMeans = attrs.field(factory=TokenMeans)

    def add(self, normaliser: float, metrics: Mapping[str, float]) -> None:
        """Add what the loss returned for a micro-batch."""
        self.normaliser += normaliser
        for name, value in metrics.items():
            self.metrics[name] += value

    def merged(self, others: Iterable["BatchTotals"]) -> "BatchTotals":
        """Return the totals over the micro-batches of this and of `others`."""
        total = BatchTotals()
        for each in (self, *others):
            total.add(each.normaliser, each.metrics)
            total.distance.extend(each.distance)
            total.means.extend(each.means)
        return total

    def mean_metrics(self) -> dict[str, float]:
        """Return all metrics, as means over what was computed."""
        metrics = {name: value / self.normaliser for name, value in self.metrics.items()}
        return {**self.distance.metrics(), **self.means.metrics(), **metrics}

"""The `token_mean` aggregation policy.

Neighbours: the learner multiplies every gradient by its coefficient and sums.
"""

from collections.abc import Sequence

from ralo_core import BuildContext
from ralo_core.protocols import GradientFacts


class TokenMean:
    """``sum(weight * gradient) / sum(weight)``: as if all tokens had been in one batch."""

    def __init__(self, settings: None, context: BuildContext) -> None:
        """Take no options."""

    def coefficients(
        self, gradients: Sequence[GradientFacts], current_version: int
    ) -> Sequence[float]:
        """Return each gradient's share of the weight."""
        total = sum(gradient.weight for gradient in gradients)
        return [gradient.weight / total for gradient in gradients]

"""Group-relative advantages, equation 3.1.2 of the GRPO paper.

    A_i = (R_i - mean(R)) / (std(R) + eps)

with the standard deviation over the group (ddof = 1, as the authors' successors compute it).
Neighbours: the trainer calls `estimate` once per batch. It looks at leaves only, so it works
on any tree.
"""

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from ralo_core import BuildContext, RolloutTree, setting
from ralo_core.config.checks import positive


@attrs.frozen(kw_only=True)
class GroupAdvantageSettings:
    """``[advantage.grpo]``."""

    scale: bool = setting(True, "divide by the group's deviation; false: Dr. GRPO's choice")
    eps: float = setting(1e-4, "added to the deviation", positive)


class GroupAdvantage:
    """Satisfies `ralo_core.protocols.AdvantageEstimator`."""

    def __init__(self, settings: GroupAdvantageSettings, context: BuildContext) -> None:
        self._settings = settings

    def estimate(self, trees: Sequence[RolloutTree]) -> list[npt.NDArray[np.float32]]:
        """Return float32[L] per tree; a group of one gets 0."""
        return [self._group(tree.rewards.astype(np.float64)) for tree in trees]

    def _group(self, rewards: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        centred = rewards - rewards.mean()
        if self._settings.scale and len(rewards) > 1:
            centred = centred / (rewards.std(ddof=1) + self._settings.eps)
        return np.asarray(centred, np.float32)

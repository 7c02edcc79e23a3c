"""Advantages of a group of responses to one prompt, R_1 ... R_G.

    grpo                  (R_i - mean(R)) / (std(R) + eps), ddof = 1; DeepSeekMath, section 4.1.2
                          (Shao et al. 2024, arXiv 2402.03300); without the division Dr. GRPO
                          (Liu et al. 2025, arXiv 2503.20783)
    rloo                  R_i - mean of the others = G / (G - 1) (R_i - mean(R)); Ahmadian et al.
                          2024, arXiv 2402.14740
    reinforce_pp          R_i, whitened over all response tokens of the batch; Hu 2025, arXiv
                          2501.03262
    reinforce_pp_baseline R_i - mean(R), whitened likewise; the same, section 3.2

They look at leaves only, so they work on any tree.
"""

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from ralo_core import BuildContext, RolloutTree, at_least, positive, setting, whitened

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@attrs.frozen(kw_only=True)
class GroupAdvantageSettings:
    """``[advantage.grpo]``."""

    scale: bool = setting(True, "divide by the group's deviation; false: Dr. GRPO's choice")
    eps: float = setting(1e-4, "added to the deviation", positive)


@attrs.frozen(kw_only=True)
class WhitenedSettings:
    """``[advantage.reinforce_pp]`` and ``[advantage.reinforce_pp_baseline]``."""

    eps: float = setting(1e-8, "added to the variance", at_least(0))


class GroupAdvantage:
    """`grpo`; satisfies `ralo_core.protocols.AdvantageEstimator`."""

    def __init__(self, settings: GroupAdvantageSettings, context: BuildContext) -> None:
        self._settings = settings

    def estimate(self, trees: Sequence[RolloutTree]) -> list[Float32]:
        """Return float32[L] per tree; a group of one gets 0."""
        return [self._group(tree.rewards.astype(np.float64)) for tree in trees]

    def _group(self, rewards: Float64) -> Float32:
        centred = rewards - rewards.mean()
        if self._settings.scale and len(rewards) > 1:
            centred = centred / (rewards.std(ddof=1) + self._settings.eps)
        return np.asarray(centred, np.float32)


class LeaveOneOut:
    """`rloo`; satisfies `ralo_core.protocols.AdvantageEstimator`."""

    def __init__(self, settings: None, context: BuildContext) -> None:
        pass

    def estimate(self, trees: Sequence[RolloutTree]) -> list[Float32]:
        """Return float32[L] per tree; a group of one gets 0."""
        return [self._group(tree.rewards.astype(np.float64)) for tree in trees]

    def _group(self, rewards: Float64) -> Float32:
        factor = len(rewards) / max(len(rewards) - 1, 1)
        return np.asarray(factor * (rewards - rewards.mean()), np.float32)


class WhitenedReward:
    """`reinforce_pp`; satisfies `ralo_core.protocols.AdvantageEstimator`."""

    def __init__(self, settings: WhitenedSettings, context: BuildContext) -> None:
        self._settings = settings

    def estimate(self, trees: Sequence[RolloutTree]) -> list[Float32]:
        """Return float32[L] per tree."""
        raw = [self.raw(tree.rewards.astype(np.float64)) for tree in trees]
        lengths = [tree.response_lengths() for tree in trees]
        return [value.astype(np.float32) for value in whitened(raw, lengths, self._settings.eps)]

    def raw(self, rewards: Float64) -> Float64:
        """Return what is whitened, float64[L]."""
        return rewards


class WhitenedGroup(WhitenedReward):
    """`reinforce_pp_baseline`; satisfies `ralo_core.protocols.AdvantageEstimator`."""

    def raw(self, rewards: Float64) -> Float64:
        """Return the rewards less the mean of their group, float64[L]."""
        return np.asarray(rewards - rewards.mean())

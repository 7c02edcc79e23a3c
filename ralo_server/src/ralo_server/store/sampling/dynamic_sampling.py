"""Dynamic sampling, DAPO (Yu et al. 2025, arXiv 2503.14476, section 3.2): trees without signal.

Where all rollouts of a problem have the same reward, the baseline of their group leaves nothing of
it. Such a tree is skipped, and the tree of another problem takes its place in the batch. The paper
looks at right and wrong answers, whatever length or form cost beside: that is the first reward of
the pipeline, as in an evaluation. Rewards are compared exactly: the mean of equal numbers is that
number, and anything else gives an advantage.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ralo_core.config import Config, TrainerSettings
from ralo_core.data import RolloutTree


def skip_rule(config: Config) -> Callable[[RolloutTree], bool]:
    """Return what says whether a tree is skipped, as ``[trainer] dynamic_sampling`` has it."""
    choice = config.section(TrainerSettings).dynamic_sampling
    if choice == "off":
        return lambda tree: False
    if choice == "total":
        return lambda tree: _all_equal(tree.rewards)
    first = config.data["reward"]["pipeline"][0]
    return lambda tree: (
        _all_equal(tree.rewards)
        or (first in tree.reward_parts and _all_equal(tree.reward_parts[first]))
    )


def _all_equal(rewards: npt.NDArray[np.float32]) -> bool:
    return bool((rewards == rewards[0]).all())

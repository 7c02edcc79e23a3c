"""Options of the tree sampler and the tree advantage, with the paper's terms and defaults."""

import attrs

from ralo_core import setting
from ralo_core.config.checks import at_least, one_of, positive


@attrs.frozen(kw_only=True)
class TreeSamplerSettings:
    """``[sampling.treepo]``; paper section 2.2, best training setting of section 4."""

    width: int = setting(16, "complete responses per problem (w)", positive)
    depth: int = setting(14, "most segments on a path (d)", positive)
    segment_tokens: int = setting(512, "most tokens of a segment (l); limit = d x l", positive)
    branch: int = setting(2, "continuations of a live path per round (N)", positive)
    init_branch_min: int = setting(2, "fewest first segments of a tree", positive)
    init_branch_max: int = setting(
        2, "most first segments, drawn uniformly per problem; paper's 'more init divergence': 8",
        positive,
    )  # fmt: skip
    fallback: str = setting(
        "random",
        "when all paths ended below the width: 'random' resumes an answered path at a random "
        "segment boundary, 'restart' starts again from the prompt, 'off' stays below the width",
        one_of("random", "restart", "off"),
    )

    def __attrs_post_init__(self) -> None:
        if self.init_branch_min > self.init_branch_max:
            msg = (
                f"init_branch_min ({self.init_branch_min}) must not be above "
                f"init_branch_max ({self.init_branch_max})"
            )
            raise ValueError(msg)


@attrs.frozen(kw_only=True)
class TreeAdvantageSettings:
    """``[advantage.treepo]``; paper sections 2.3 and 4.2."""

    weighting: str = setting(
        "average",
        "how the sub-groups of a path count: 'average' alike (eq. 5, the paper's best), 'size' "
        "by their number of leaves (eq. 6)",
        one_of("average", "size"),
    )
    root: bool = setting(True, "include the group of all leaves of the tree")
    reject_equal: bool = setting(
        False, "leave out sub-groups below the root whose rewards are all equal (eq. 7)"
    )
    whiten: bool = setting(True, "normalise over all response tokens of the batch (REINFORCE++)")
    eps: float = setting(1e-8, "added to the variance when whitening", at_least(0))

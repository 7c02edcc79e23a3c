"""Options of the tree sampler and the tree advantages, with the paper's terms and defaults."""

import attrs

from ralo_core import at_least, one_of, positive, setting


@attrs.frozen(kw_only=True)
class TreeSamplerSettings:
    """``[sampling.treepo]``; paper section 2.2, best training setting of section 4."""

    width: int = setting(16, "complete responses per problem (w)", positive)
    depth: int = setting(14, "most segments on a path (d)", positive)
    segment_tokens: int = setting(512, "most tokens of a segment (l)", positive)
    response_tokens: int = setting(
        0, "most tokens of a response; 0: depth x segment_tokens", at_least(0)
    )
    branch: int = setting(2, "continuations of a live path per round (N)", positive)
    init_branch_min: int = setting(2, "fewest first segments of a tree", positive)
    init_branch_max: int = setting(
        2, "most first segments, drawn uniformly per problem; paper's 'more init divergence': 8",
        positive,
    )  # fmt: skip
    split: str = setting(
        "even",
        "how a round's width is shared among live paths: 'even', or by a softmax, 'logprob' over "
        "their log-probs (section 4.4), 'entropy' over the mean token entropy of their last "
        "segments (ours)",
        one_of("even", "logprob", "entropy"),
    )
    split_score: str = setting(
        "segment",
        "what 'logprob' looks at: 'segment' the mean of the last segment (the paper's), 'mean' "
        "of the response, 'sum' of the response (longer ones then count as less probable)",
        one_of("segment", "mean", "sum"),
    )
    split_prefer: str = setting(
        "low",
        "which paths get more of the width: those of 'low' probability or high entropy, the "
        "uncertain ones, or those of 'high' probability or low entropy",
        one_of("low", "high"),
    )
    split_temperature: float = setting(2.0, "temperature of that softmax", positive)
    split_temperature_end: float = setting(
        0.0, "temperature it goes to, from the start's; 0: it stays (paper: 5.0 to 1.0)",
        at_least(0),
    )  # fmt: skip
    split_schedule: str = setting(
        "linear", "how it goes there: 'linear' or 'sinusoid'", one_of("linear", "sinusoid")
    )
    split_versions: int = setting(100, "weight versions after which it is there", positive)
    stop_boxed: bool = setting(True, r"a complete \boxed{...} ends a path, also without EOS")
    stop_repetition: str = setting(
        "first",
        "text that repeats itself ends a path: tested 'first', 'last' (so that another reason to "
        "end has the word), or 'off'",
        one_of("first", "last", "off"),
    )
    fallback: str = setting(
        "random",
        "when all paths ended below the width: 'random' resumes a path at a random segment "
        "boundary, 'uncertain' and 'certain' prefer to redo segments of low and high log-prob, "
        "'restart' starts again from the prompt, 'off' stays below the width",
        one_of("random", "uncertain", "certain", "restart", "off"),
    )
    fallback_from: str = setting(
        "answered",
        "what is resumed: paths that 'answered' (boxed or EOS; the paper's), 'any', or any with "
        "the 'longest' preferred",
        one_of("answered", "any", "longest"),
    )
    fallback_segments: int = setting(
        0, "most segments that a resumed path loses; 0: all of them", at_least(0)
    )

    def __attrs_post_init__(self) -> None:
        if self.init_branch_min > self.init_branch_max:
            msg = (
                f"init_branch_min ({self.init_branch_min}) must not be above "
                f"init_branch_max ({self.init_branch_max})"
            )
            raise ValueError(msg)

    @property
    def most_tokens(self) -> int:
        """The most tokens of a response."""
        reachable = self.depth * self.segment_tokens
        return min(self.response_tokens, reachable) if self.response_tokens else reachable


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
    normalise: str = setting(
        "batch",
        "'batch': whiten over all response tokens of the batch (REINFORCE++, what the release "
        "does), 'subgroups': divide by the deviation of the problem's terms (eq. 5 as printed), "
        "'off'",
        one_of("batch", "subgroups", "off"),
    )
    eps: float = setting(1e-8, "added to the variance when whitening", at_least(0))


@attrs.frozen(kw_only=True)
class SegmentAdvantageSettings:
    """``[advantage.treepo_segment]``; in the release, not in the paper."""

    decay: float = setting(
        1.0,
        "weight of the value before a segment is this to the power of the segments left, so that "
        "early segments keep more of the outcome (eta of the release); 1: the plain difference",
        positive,
    )
    normalise: str = setting(
        "batch",
        "'batch': whiten over all response tokens of the batch (REINFORCE++), 'off'",
        one_of("batch", "off"),
    )
    eps: float = setting(1e-8, "added to the variance when whitening", at_least(0))

"""Where a tree goes on when every path has ended and leaves are missing: depth-first fallback.

A path is resumed at the end of one of its segments, so prompt and response are always cut
together and what is kept is shared whole (the release resumes from the uncut prompt).

`budget` says how often each path is resumed. Rewards are not known yet, so they play no part.
"""

from collections.abc import Sequence
from random import Random

from ralo_treepo.path import Path
from ralo_treepo.settings import TreeSamplerSettings
from ralo_treepo.split import softmax

ANSWERED = ("boxed", "eos")


def resumption_points(
    leaves: Sequence[tuple[Path, str]], prompt: Path, settings: TreeSamplerSettings, random: Random
) -> list[Path]:
    """Return the paths to go on from, in order; the bare `prompt` where there is no candidate.

    `leaves` are the paths that ended, with their finish reasons.
    """
    if settings.fallback == "restart":
        return [prompt]
    candidates = _candidates(leaves, settings.fallback_from, random)
    return [_boundary(path, settings, random) for path in candidates] or [prompt]


def _candidates(leaves: Sequence[tuple[Path, str]], which: str, random: Random) -> list[Path]:
    """Return them in a random order."""
    found = [path for path, why in leaves if which != "answered" or why in ANSWERED]
    if which != "longest":
        random.shuffle(found)
        return found
    # The smallest of exponential times with these rates: drawn in proportion, without return.
    return sorted(found, key=lambda path: random.expovariate(path.tokens))


def _boundary(path: Path, settings: TreeSamplerSettings, random: Random) -> Path:
    """Return the path before the segment that is to be redone, with all behind it."""
    segments = list(path.segments())
    if settings.fallback_segments:
        segments = segments[: settings.fallback_segments]
    weights = None
    if settings.fallback != "random":
        sign = -1.0 if settings.fallback == "uncertain" else 1.0
        weights = softmax([sign * segment.segment_logprob for segment in segments])
    (first,) = random.choices(segments, weights)
    assert first.parent is not None  # only the bare prompt has none
    return first.parent

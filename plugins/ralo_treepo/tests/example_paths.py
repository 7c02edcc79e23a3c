"""Paths with given log-probs or entropies."""

import numpy as np

from ralo_core import Completion
from ralo_treepo.path import Path
from ralo_treepo.stopping import NOTHING_READ


def path(*segments):
    """A path whose segments have these log-probs, a token each number."""
    made = Path()
    for node, logprobs in enumerate(segments):
        done = Completion(
            tokens=np.ones(len(logprobs), np.int32),
            logprobs=np.asarray(logprobs, np.float32),
            finish_reason="length",
            version=0,
        )
        made = made.extended(node, done, NOTHING_READ)
    return made


def path_of_entropies(*segments):
    """A path whose segments have these entropies, and log-probs that say nothing."""
    made = Path()
    for node, entropies in enumerate(segments):
        done = Completion(
            tokens=np.ones(len(entropies), np.int32),
            logprobs=np.full(len(entropies), -1.0, np.float32),
            finish_reason="length",
            version=0,
            entropies=np.asarray(entropies, np.float32),
        )
        made = made.extended(node, done, NOTHING_READ)
    return made

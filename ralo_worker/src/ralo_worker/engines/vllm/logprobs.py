"""Log-probs and entropies out of vLLM's flat lists.

At every position vLLM gives the log-prob of the sampled token first and then, if alternatives were
asked for, those of the K most probable tokens, the sampled one among them or not.

Numpy only, so that it can be tested without vLLM.
"""

from typing import Any

import numpy as np
import numpy.typing as npt


def sampled_logprobs(flat: Any) -> npt.NDArray[np.float32]:
    """Return the log-probs of n sampled tokens, float32[n]."""
    logprobs = np.asarray([flat.logprobs[start] for start in flat.start_indices], np.float32)
    return np.minimum(logprobs, 0)


def top_entropies(flat: Any) -> npt.NDArray[np.float32]:
    """Return the entropy (nats) of the most probable tokens at n positions, float32[n].

    With p the renormalised probabilities of the K alternatives it is ``-sum p ln p``. It says
    nothing of the tail: flat distributions over more than K tokens look surer than they are. The
    sampled token does not count by itself, so that the entropy depends on no draw.
    """
    positions = len(flat.start_indices)
    logprobs = np.asarray(flat.logprobs, np.float64).reshape(positions, -1)[:, 1:]
    powers = np.exp(logprobs - logprobs.max(1, keepdims=True))
    p = powers / powers.sum(1, keepdims=True)
    entropies = -np.sum(p * np.log(p, out=np.zeros_like(p), where=p > 0), axis=1)
    return np.maximum(entropies, 0).astype(np.float32)

"""The policy as a trainer holds it, and what its architecture means for how trees are laid out.

Neighbours: `runtime` opens it, `objective` asks what it can do.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from ralo_core import RaloError


def pair_cost(model: Any) -> float:
    """Return what attention takes for a pair of tokens in units of what the rest of a layer takes
    for a token: 4 h of 24 h^2 operations, and half as much again for a mask of any shape."""
    return 0.25 / float(model.config.hidden_size)


def attends_fully(model: Any) -> bool:
    """Say whether every layer of a model attends to all that its mask allows: what computes a
    shared prefix once relies on it. Sliding windows count places, not positions."""
    kinds = getattr(model.config, "layer_types", None) or ["full_attention"]
    return set(kinds) == {"full_attention"}


def open_model(directory: Path, device: str = "") -> Any:
    """Return the policy in float32 on `device`, else the GPU of this process or the CPU, dropout
    off.

    Behaviour log-probs were computed without dropout, so the ratio must be, too.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    except (OSError, ValueError) as error:
        msg = f"cannot open the model in {directory}: {error}"
        raise RaloError(msg) from error
    return model.to(device).eval()

"""The policy's model as a trainer opens it, and what its architecture means for how trees are laid
out."""

from pathlib import Path
from typing import Any

import attrs
import torch

from ralo_core.adapters import has_adapter
from ralo_worker.adapters import adapter_off, adapter_parameters, open_causal_lm
from ralo_worker.weights.loading import load_weights


def pair_cost(model: Any) -> float:
    """Return what attention takes for a pair of tokens in units of what the rest of a layer takes
    for a token: 4 h of 24 h^2 operations, and half as much again for a mask of any shape."""
    return 0.25 / float(model.config.hidden_size)


def attends_fully(model: Any) -> bool:
    """Say whether every layer of a model attends to all that its mask allows: what computes a
    shared prefix once relies on it. Sliding windows count places, not positions."""
    kinds = getattr(model.config, "layer_types", None) or ["full_attention"]
    return set(kinds) == {"full_attention"}


def open_model(directory: Path, base_dtype: torch.dtype = torch.float32, device: str = "") -> Any:
    """Return the policy on `device`, else the GPU of this process or the CPU, dropout off; what is
    trained, in float32.

    That is all of it, or the adapter that lies beside it: then the rest is in `base_dtype` and
    asks for no gradient. Behaviour log-probs were computed without dropout, so the ratio must be,
    too.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if not has_adapter(directory):
        return open_causal_lm(directory, dtype=torch.float32).to(device).eval()
    model = open_causal_lm(directory, dtype=base_dtype).requires_grad_(False)
    for parameter in adapter_parameters(model).values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    load_weights(model, directory)  # again, for they went through `base_dtype`
    return model.to(device).eval()


@attrs.frozen
class WithoutAdapter:
    """`policy` as it was before training, for the log-probs of a KL: one copy serves both."""

    policy: Any

    def __call__(self, batch: Any) -> Any:
        """Return what the policy without its adapter says of a micro-batch."""
        with adapter_off(self.policy.model):
            return self.policy(batch)

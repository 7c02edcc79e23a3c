"""Decoder layers whose inside is computed again in the backward pass instead of being kept.

Between the passes such a layer holds its input only. Hugging Face's own switch works in training
mode alone, and ours is evaluation mode, for dropout must be off; so `forward` of the layer itself
is wrapped, below whatever hooks the module gets (a sharded layer gathers its weights again for the
second pass).
"""

from functools import partial
from typing import Any

from torch.nn import Module
from torch.utils.checkpoint import checkpoint

from ralo_core import RaloError


def decoder_layers(model: Any) -> list[Module]:
    """Return the layers of a Hugging Face model, the first one first.

    Raises `RaloError` where the model does not say which modules they are.
    """
    names = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        msg = (
            f"{type(model).__name__} does not say what its layers are (_no_split_modules), so "
            "they cannot be told apart: set trainer.checkpoint_layers = 0"
        )
        raise RaloError(msg)
    return layers


def recompute(model: Any, share: float) -> None:
    """Make `share` (0 to 1) of the layers of `model` recompute in the backward pass.

    The first ones: when their turn comes, the later layers have freed what they kept, so that
    what one layer takes while it is recomputed adds nothing to the peak.
    """
    if share == 0:
        return
    layers = decoder_layers(model)
    for layer in layers[: max(1, round(share * len(layers)))]:
        layer.forward = partial(
            checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
        )

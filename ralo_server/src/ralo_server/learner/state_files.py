"""The folder of a committed step: fp32 master weights and optimizer state, as mapped files.

``master.safetensors`` holds the trained parameters and the tensors that are not trained,
``state.safetensors`` the optimizer's tensors under ``parameter/key``, scalars among them.

Neighbours: `master` reads one folder and fills the next; `sliced_optimizer` says what state there
is. Memory for the files is the system's page cache, which it takes back when it needs it.
"""

from collections.abc import Mapping
from pathlib import Path

import attrs
import torch
from torch import Tensor

from ralo_server.learner.tensor_file import Spec, create_tensors, open_tensors
from ralo_server.model_files import ties_embeddings, weight_files

_MASTER, _STATE = "master.safetensors", "state.safetensors"
_HEAD = "lm_head.weight"


@attrs.frozen
class StateFiles:
    """Maps of trained `weights`, of `constants` (integers) and of the optimizer's `state`."""

    weights: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    state: Mapping[str, Tensor]


def open_model(directory: Path) -> StateFiles:
    """Return the weights of a Hugging Face model directory, in their own dtype, without state."""
    tensors: dict[str, Tensor] = {}
    for file in weight_files(directory):
        tensors.update(open_tensors(file))
    if ties_embeddings(directory):
        # Some exports store the tied head a second time; only the embedding is trained.
        tensors.pop(_HEAD, None)
    return _sorted(tensors, {})


def open_state(directory: Path) -> StateFiles:
    """Return what lies in the folder of a committed step; raises `RaloError` if it is not whole."""
    return _sorted(open_tensors(directory / _MASTER), open_tensors(directory / _STATE))


def create_state(directory: Path, like: StateFiles, state: Mapping[str, Spec]) -> StateFiles:
    """Make the files of the step after `like`: constants copied, weights and `state` undefined.

    Raises `RaloError` if the disk has no room.
    """
    weights = {name: (torch.float32, tuple(value.shape)) for name, value in like.weights.items()}
    constants = {name: (value.dtype, tuple(value.shape)) for name, value in like.constants.items()}
    master = create_tensors(directory / _MASTER, {**weights, **constants})
    for name, value in like.constants.items():
        if value.numel():
            master[name].copy_(value)
    return _sorted(master, create_tensors(directory / _STATE, state))


def _sorted(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> StateFiles:
    names = sorted(tensors)
    return StateFiles(
        weights={name: tensors[name] for name in names if tensors[name].is_floating_point()},
        constants={name: tensors[name] for name in names if not tensors[name].is_floating_point()},
        state=state,
    )

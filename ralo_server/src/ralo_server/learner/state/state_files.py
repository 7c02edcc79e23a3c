"""The files of a state: float32 master weights and optimizer state, mapped or being written.

``master.safetensors`` holds the trained parameters and the tensors that are not trained,
``state.safetensors`` the optimizer's tensors under ``parameter/key``, scalars among them. Memory
for the files is the system's page cache, which it takes back when it needs it.
"""

from collections.abc import Mapping
from pathlib import Path

import attrs
import torch
from torch import Tensor

from ralo_core.adapters import has_adapter
from ralo_server.learner.publish.tensor_file import NewTensorFile, Spec, open_tensors
from ralo_server.models.model_files import ties_embeddings, weight_files

_MASTER, _STATE = "master.safetensors", "state.safetensors"
_HEAD = "lm_head.weight"


@attrs.frozen
class StateFiles:
    """Maps of trained `weights`, of `constants` (integers) and of the optimizer's `state`."""

    weights: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    state: Mapping[str, Tensor]


def open_model(directory: Path) -> StateFiles:
    """Return the weights in the directory of a Hugging Face model, or of an adapter, in their own
    dtype, without state."""
    tensors: dict[str, Tensor] = {}
    for file in weight_files(directory):
        tensors.update(open_tensors(file))
    if not has_adapter(directory) and ties_embeddings(directory):
        # Some exports store the tied head a second time; only the embedding is trained.
        tensors.pop(_HEAD, None)
    return _sorted(tensors, {})


def open_state(directory: Path) -> StateFiles:
    """Return what lies in the folder of a checkpoint; raises `RaloError` if it is not whole."""
    return _sorted(open_tensors(directory / _MASTER), open_tensors(directory / _STATE))


class WorkingCopy:
    """The files of the step after `like`, being written in `directory`; `state` says what state.

    The constants are copied at once. Raises `RaloError` if the disk has no room.
    """

    def __init__(self, directory: Path, like: StateFiles, state: Mapping[str, Spec]) -> None:
        weights = {name: (torch.float32, tuple(old.shape)) for name, old in like.weights.items()}
        constants = {name: (old.dtype, tuple(old.shape)) for name, old in like.constants.items()}
        self._master = NewTensorFile(directory / _MASTER, {**weights, **constants})
        self._state = NewTensorFile(directory / _STATE, state)
        for name, value in like.constants.items():
            self._master.write(name, 0, value)
        self.files = _sorted(self._master.tensors(), self._state.tensors())
        """Maps of what is being written."""

    def write_weights(self, name: str, start: int, values: Tensor) -> None:
        """Write float32[n] of parameter `name`."""
        self._master.write(name, start, values)

    def write_state(self, name: str, key: str, start: int, values: Tensor) -> None:
        """Write state `key` of parameter `name`: [n], or a scalar at 0."""
        self._state.write(f"{name}/{key}", start, values)

    def close(self) -> None:
        """Close the files; maps of them stay."""
        self._master.close()
        self._state.close()


def _sorted(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> StateFiles:
    names = sorted(tensors)
    return StateFiles(
        weights={name: tensors[name] for name in names if tensors[name].is_floating_point()},
        constants={name: tensors[name] for name in names if not tensors[name].is_floating_point()},
        state=state,
    )

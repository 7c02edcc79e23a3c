"""Copy the safetensors files of a weight version into a live model, in place; where the version is
an adapter, into that of the model.

Names and shapes are checked before the first byte is copied, so a wrong directory leaves the
model as it was. Tied weights are one tensor under several names: any of them will do.

Trainers load with it between two batches, the transformers engine between two decoding steps.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch.distributed.tensor import DTensor, distribute_tensor

from ralo_worker.adapters import published_tensors
from ralo_worker.weights.checkpoint import misshapen, refuse_faults, shapes, weight_files


@torch.no_grad()
def load_weights(model: Any, directory: Path) -> None:
    """Overwrite the parameters of `model` with ``*.safetensors`` of `directory`.

    Values are cast to the model's dtype. Raises `RaloError` naming what is missing, unknown
    or of another shape; the model is then unchanged.
    """
    targets = published_tensors(model, directory)
    _check(targets, shapes(directory), _tied_names(targets), directory)
    for file in weight_files(directory):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                _copy(targets[name], tensors.get_tensor(name))


def _copy(target: torch.Tensor, value: torch.Tensor) -> None:
    if isinstance(target, DTensor):  # of a sharded model: this process has a part of it
        value = distribute_tensor(
            value.to(target.device), target.device_mesh, target.placements, src_data_rank=None
        )
    target.copy_(value)


def _tied_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, frozenset[str]]:
    """Return, per tensor name, all names of the same memory."""
    by_memory: dict[tuple[int, int], list[str]] = {}
    for name, tensor in tensors.items():
        here = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        by_memory.setdefault((here.data_ptr(), tensor.numel()), []).append(name)
    return {name: frozenset(names) for names in by_memory.values() for name in names}


def _check(
    targets: Mapping[str, torch.Tensor],
    found: Mapping[str, list[int]],
    tied: Mapping[str, frozenset[str]],
    directory: Path,
) -> None:
    expected = {name: tensor.shape for name, tensor in targets.items()}
    faults = {
        "missing": [name for name in targets if not tied[name] & found.keys()],
        "not in the model": [name for name in found if name not in targets],
        "wrong shape": misshapen(expected, found),
    }
    refuse_faults(faults, directory)

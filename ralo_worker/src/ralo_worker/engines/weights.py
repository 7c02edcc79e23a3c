"""Copy the safetensors files of a weight version into a live model, in place.

Names and shapes are checked before the first byte is copied, so a wrong directory leaves the
model as it was. Tied weights are one tensor under several names: any of them will do.

Neighbours: `transformers` calls it on the decode thread.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ralo_core import RaloError

_SHOWN = 5


@torch.no_grad()
def load_weights(model: Any, directory: Path) -> None:
    """Overwrite the parameters of `model` with ``*.safetensors`` of `directory`.

    Values are cast to the model's dtype. Raises `RaloError` naming what is missing, unknown
    or of another shape; the model is then unchanged.
    """
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        msg = f"{directory} has no *.safetensors file; is it a Hugging Face model directory?"
        raise RaloError(msg)
    targets: dict[str, torch.Tensor] = model.state_dict()
    shapes = _shapes(files)
    _check(targets, shapes, _tied_names(model), directory)
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                targets[name].copy_(tensors.get_tensor(name))


def _shapes(files: Iterable[Path]) -> dict[str, list[int]]:
    shapes = {}
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                shapes[name] = tensors.get_slice(name).get_shape()
    return shapes


def _tied_names(model: Any) -> dict[str, frozenset[str]]:
    """Return, per tensor name, all names of the same memory."""
    by_memory: dict[tuple[int, int], list[str]] = {}
    for name, tensor in model.state_dict().items():
        by_memory.setdefault((tensor.data_ptr(), tensor.numel()), []).append(name)
    return {name: frozenset(names) for names in by_memory.values() for name in names}


def _check(
    targets: Mapping[str, torch.Tensor],
    shapes: Mapping[str, list[int]],
    tied: Mapping[str, frozenset[str]],
    directory: Path,
) -> None:
    missing = [name for name in targets if not tied[name] & shapes.keys()]
    unknown = [name for name in shapes if name not in targets]
    wrong = [
        f"{name} {shape} instead of {list(targets[name].shape)}"
        for name, shape in shapes.items()
        if name in targets and shape != list(targets[name].shape)
    ]
    faults = {"missing": missing, "not in the model": unknown, "wrong shape": wrong}
    found = [f"{what}: {_listing(names)}" for what, names in faults.items() if names]
    if found:
        msg = f"the weights in {directory} do not fit the running model: {'; '.join(found)}"
        raise RaloError(msg)


def _listing(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more

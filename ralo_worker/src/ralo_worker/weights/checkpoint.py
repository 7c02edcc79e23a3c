"""The safetensors files of a model directory: which tensors they hold, and what does not fit.

A version is compared with the running model before the first byte of it is loaded, so this reads
headers only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ralo_core import RaloError
from ralo_core.adapters import ADAPTER_WEIGHTS, has_adapter

_SHOWN = 5


def weight_files(directory: Path) -> list[Path]:
    """Return the safetensors files that a step changes: the adapter's where `directory` has one,
    for the model beside it stays what it is, else all. Raises `RaloError` if there is none."""
    if has_adapter(directory):
        return [directory / ADAPTER_WEIGHTS]
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        msg = f"{directory} has no *.safetensors file; is it a Hugging Face model directory?"
        raise RaloError(msg)
    return files


def shapes(directory: Path) -> dict[str, list[int]]:
    """Return the shape of every tensor in the weight files of `directory`.

    Raises `RaloError` for a file that is cut short or no safetensors file.
    """
    found = {}
    for file in weight_files(directory):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                    found[name] = tensors.get_slice(name).get_shape()
        except SafetensorError as error:
            msg = f"{file} cannot be read: {error}"
            raise RaloError(msg) from error
    return found


def misshapen(expected: Mapping[str, Sequence[int]], found: Mapping[str, list[int]]) -> list[str]:
    """Return, in words, the tensors of `found` that have another shape than expected."""
    return [
        f"{name} {shape} instead of {list(expected[name])}"
        for name, shape in found.items()
        if name in expected and shape != list(expected[name])
    ]


def refuse_faults(faults: Mapping[str, list[str]], directory: Path) -> None:
    """Raise `RaloError` if there is any fault: `faults` maps what is wrong to tensor names."""
    found = [f"{what}: {_listing(names)}" for what, names in faults.items() if names]
    if found:
        msg = f"the weights in {directory} do not fit the running model: {'; '.join(found)}"
        raise RaloError(msg)


def _listing(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more

"""The fp32 master weights and the optimizer over them; saved and restored as safetensors.

Neighbours: `loop` steps them, `publishing` casts them. Optimizer state is kept generically, so
any `torch.optim.Optimizer` of an optimizer policy can be resumed.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ralo_core.errors import RaloError
from ralo_core.protocols import OptimizerPolicy
from ralo_server.model_files import ties_embeddings, weight_files

_MASTER, _STATE = "master.safetensors", "state.safetensors"
_HEAD = "lm_head.weight"


class Master:
    """Trained parameters as fp32, other tensors (integers) as they were, and the optimizer."""

    def __init__(self, tensors: Mapping[str, Tensor], policy: OptimizerPolicy) -> None:
        self.parameters = {
            name: torch.nn.Parameter(tensor.to(torch.float32))
            for name, tensor in tensors.items()
            if tensor.is_floating_point()
        }
        self.constants = {
            name: tensor for name, tensor in tensors.items() if not tensor.is_floating_point()
        }
        self._policy = policy
        self.optimizer = policy.build(self.parameters.items())

    @classmethod
    def of_model(cls, directory: Path, policy: OptimizerPolicy) -> "Master":
        """Return the master weights of a Hugging Face model directory."""
        tensors = dict(_read(weight_files(directory)))
        if ties_embeddings(directory):
            # Some exports store the tied head a second time; only the embedding is trained.
            tensors.pop(_HEAD, None)
        return cls(tensors, policy)

    @classmethod
    def restore(cls, directory: Path, policy: OptimizerPolicy) -> "Master":
        """Return what `save` wrote into `directory`."""
        master = cls(load_file(directory / _MASTER), policy)
        master._load_state(load_file(directory / _STATE))
        return master

    def save(self, directory: Path) -> None:
        """Write weights and optimizer state as safetensors files."""
        weights = {name: parameter.data for name, parameter in self.parameters.items()}
        save_file({**weights, **self.constants}, directory / _MASTER)
        save_file(dict(self._state_tensors()), directory / _STATE)

    def shapes(self) -> dict[str, list[int]]:
        """Return the shape of every trained parameter."""
        return {name: list(parameter.shape) for name, parameter in self.parameters.items()}

    def set_gradients(self, gradients: Mapping[str, Tensor]) -> None:
        """Hand the aggregate to the optimizer."""
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name]

    def step(self, number: int) -> tuple[float, float]:
        """Take optimizer step `number`; return the gradient norm before clipping and the
        learning rate."""
        bound = self._policy.max_grad_norm
        norm = torch.nn.utils.clip_grad_norm_(
            self.parameters.values(), float("inf") if bound is None else bound
        )
        learning_rate = self._policy.learning_rate(number)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm), learning_rate

    def _state_tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                yield f"{name}/{key}", torch.as_tensor(value).clone()

    def _load_state(self, tensors: Mapping[str, Tensor]) -> None:
        states: dict[str, dict[str, Any]] = {}
        for path, value in tensors.items():
            name, _, key = path.rpartition("/")
            states.setdefault(name, {})[key] = value
        unknown = states.keys() - self.parameters.keys()
        if unknown:
            msg = f"the optimizer state is of other parameters: {sorted(unknown)[0]}"
            raise RaloError(msg)
        for name, state in states.items():
            self.optimizer.state[self.parameters[name]] = state


def _read(files: Iterable[Path]) -> Iterator[tuple[str, Tensor]]:
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (safe_open is no mapping)
                yield name, tensors.get_tensor(name)

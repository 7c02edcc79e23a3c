"""Proof that the layers of a vLLM model compute with the weights just loaded.

For its CPU kernels vLLM packs a matrix when it is loaded and multiplies with the packed copy from
then on. A layer that is loaded again packs again. An output layer that shares its matrix with the
embedding is not: the embedding is loaded, and the output layer would go on with the packed copy of
the old weights, silently. Such layers are packed again here, and then every layer is asked to
multiply a fixed input: the output must be, bit for bit, the one that it gave when freshly packed.

Every update of the weights stands between `begin` and `finish`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

from ralo_core import RaloError

_ROWS = 2
_TOLERANCE = 0.02
"""Of the output's norm: far above rounding in bfloat16, far below another matrix."""


class LayerProof:
    """Watches the layers of `model` that multiply by an unquantized matrix.

    It must be made while the model is whole: that is when shared matrices can be told.
    """

    def __init__(self, model: Any) -> None:
        self._layers = dict(_multiplying(model))
        self._inputs = {name: _input(layer) for name, layer in self._layers.items()}
        self._names = {id(layer): name for name, layer in self._layers.items()}
        self._owners = _owners(self._layers)
        self._outputs: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Record from now on what each layer gives when it has just been packed."""
        self._outputs = {}
        for layer in self._layers.values():
            method = layer.quant_method
            original = type(method).process_weights_after_loading.__get__(method)
            method.process_weights_after_loading = self._noting(original)

    def finish(self) -> None:
        """Pack what shares its matrix, then compare; raises `RaloError` naming a stale layer."""
        for layer in self._layers.values():
            layer.quant_method.__dict__.pop("process_weights_after_loading", None)
        for name, owner in self._owners.items():
            if name not in self._outputs and owner in self._outputs:
                layer = self._layers[name]
                layer.quant_method.process_weights_after_loading(layer)
                self._outputs[name] = self._outputs[owner]
        stale = [name for name in self._layers if not self._is_fresh(name)]
        if stale:
            msg = (
                f"{len(stale)} layers do not compute with the new weights: {', '.join(stale[:5])}; "
                "the model must not be used"
            )
            raise RaloError(msg)

    def _noting(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        def process(layer: Any) -> None:
            name = self._names[id(layer)]
            matrix = layer.weight.detach().float()
            original(layer)
            output = self._output(name)
            if _close(output, self._inputs[name].float() @ matrix.T):
                self._outputs[name] = output

        return process

    def _output(self, name: str) -> Tensor:
        layer = self._layers[name]
        output: Tensor = layer.quant_method.apply(layer, self._inputs[name])
        return output

    def _is_fresh(self, name: str) -> bool:
        return name in self._outputs and torch.equal(self._outputs[name], self._output(name))


def _multiplying(model: Any) -> Iterator[tuple[str, Any]]:
    for name, layer in model.named_modules():
        method = getattr(layer, "quant_method", None)
        if isinstance(method, UnquantizedLinearMethod | UnquantizedEmbeddingMethod):
            yield name, layer


def _owners(layers: dict[str, Any]) -> dict[str, str]:
    """Return, per layer that shares the matrix of an earlier one, the name of that one."""
    first: dict[int, str] = {}
    owners = {}
    for name, layer in layers.items():
        owner = first.setdefault(id(layer.weight), name)
        if owner != name:
            owners[name] = owner
    return owners


def _input(layer: Any) -> Tensor:
    width = getattr(layer, "input_size_per_partition", None) or layer.embedding_dim
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(_ROWS, width, generator=generator)
    return values.to(layer.weight.device, layer.weight.dtype)


def _close(output: Tensor, expected: Tensor) -> bool:
    return bool((output.float() - expected).norm() <= _TOLERANCE * expected.norm())

"""The weight transfer engine inside vLLM's workers: reads a version from this machine's cache.

Each worker maps the safetensors files itself and vLLM's loader takes its shard of every tensor, so
nothing is copied through a socket. An update that did not reach every parameter, or whose layers
do not compute with it, fails: the caller must not sample from what is left.

Only the name of the directory goes through vLLM.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from ralo_core import RaloError
from ralo_worker.engines.vllm.layers import LayerProof
from ralo_worker.weights.checkpoint import weight_files


@dataclass
class NoInitInfo(WeightTransferInitInfo):
    """Nothing: there is nobody to connect to."""


@dataclass
class DirectoryUpdateInfo(WeightTransferUpdateInfo):
    """`directory` holds the safetensors files of one whole version."""

    directory: str


class DirectoryWeightEngine(WeightTransferEngine[NoInitInfo, DirectoryUpdateInfo]):
    """Loads a whole version into the running model, layer by layer, in place."""

    init_info_cls = NoInitInfo
    update_info_cls = DirectoryUpdateInfo

    def __init__(self, config: Any, vllm_config: Any, device: torch.device, model: Any) -> None:
        super().__init__(config, vllm_config, device, model)
        self._parameters = {name for name, _ in model.named_parameters()}
        self._proof = LayerProof(model)

    def init_transfer_engine(self, init_info: NoInitInfo) -> None:
        """Do nothing: files need no connection."""

    def start_weight_update(self) -> None:
        """Have vLLM take its layers apart, as before a first load."""
        self._proof.begin()
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: DirectoryUpdateInfo) -> None:
        """Load the tensors of the directory; raises `RaloError` for parameters left without."""
        loaded = self.model.load_weights(_tensors(Path(update_info.directory)))
        missing = sorted(self._parameters - set(loaded))
        if missing:
            msg = f"{update_info.directory} has no weights for {', '.join(missing[:5])}"
            raise RaloError(msg)

    def finish_weight_update(self) -> None:
        """Put the layers together again; raises `RaloError` if one did not take its weights."""
        finalize_layerwise_reload(self.model, self.model_config)
        self._proof.finish()

    def shutdown(self) -> None:
        """Do nothing: nothing is held."""


def _tensors(directory: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for file in weight_files(directory):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                yield name, tensors.get_tensor(name)

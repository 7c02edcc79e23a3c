"""How a LoRA adapter lies on disk: the file and tensor names of peft, which vLLM knows, too."""

from pathlib import Path

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"

_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


def has_adapter(directory: Path) -> bool:
    """Say whether `directory` holds an adapter, alone or beside its model."""
    return (directory / ADAPTER_CONFIG).is_file()


def adapter_names(layer: str) -> tuple[str, str]:
    """Return the names of A, [rank, inputs], and B, [outputs, rank], of the adapter of `layer`."""
    return f"{_PREFIX}{layer}{_DOWN}", f"{_PREFIX}{layer}{_UP}"

"""The LoRA adapter that vLLM serves beside a model: one, whose weights are replaced in place.

Requests name the adapter, never its version, so what runs while weights change goes on as it does
where the model itself changes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from vllm.config.lora import MaxLoRARanks
from vllm.lora.request import LoRARequest

from ralo_core import RaloError
from ralo_core.adapters import ADAPTER_CONFIG, has_adapter

_NAME, _NUMBER = "ralo", 1


def adapter_in(directory: Path, *, anew: bool = False) -> LoRARequest | None:
    """Return vLLM's name for the adapter in `directory`, None if it has none; `anew` replaces the
    weights that vLLM holds under that name."""
    if not has_adapter(directory):
        return None
    return LoRARequest(_NAME, _NUMBER, str(directory), load_inplace=anew)


def adapter_arguments(directory: Path) -> Mapping[str, Any]:
    """Return the engine arguments that the adapter in `directory` asks for, if it has one.

    Raises `RaloError` for a rank beyond what vLLM computes.
    """
    if not has_adapter(directory):
        return {}
    rank = int(json.loads((directory / ADAPTER_CONFIG).read_text(encoding="utf-8"))["r"])
    ranks = [choice for choice in get_args(MaxLoRARanks) if choice >= rank]
    if not ranks:
        most = max(get_args(MaxLoRARanks))
        msg = f"vLLM serves adapters of rank {most} at most, not {rank}; set lora.rank lower"
        raise RaloError(msg)
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": min(ranks)}

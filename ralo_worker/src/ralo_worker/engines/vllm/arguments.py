"""From our settings and requests to vLLM's: engine arguments and sampling parameters."""

from collections.abc import Iterable
from pathlib import Path

from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind

from ralo_core import GenerationRequest, RaloError
from ralo_worker.engines.vllm.adapters import adapter_arguments
from ralo_worker.engines.vllm.plugin import BACKEND
from ralo_worker.engines.vllm.settings import VllmSettings

_ON_CPU = {"dtype": "float32", "enforce_eager": True, "block_size": 32}
"""bfloat16 is slow and coarse there, compiling takes minutes, and a block of 128 tokens, vLLM's
default, would hardly ever be shared."""
_LOWEST_TEMPERATURE = 0.01
"""vLLM silently replaces every lower one by this."""


def engine_arguments(settings: VllmSettings, directory: Path, seed: int) -> AsyncEngineArgs:
    """Return the arguments that start vLLM on `directory`; raises `RaloError` for unknown ones."""
    own = {
        "model": str(directory),
        "seed": seed,
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "logprobs_mode": "processed_logprobs",  # of the distribution drawn from
        "max_logprobs": settings.entropy_top_k,
        "enable_prefix_caching": True,
        "disable_log_stats": False,
        "weight_transfer_config": {"backend": BACKEND},
        **adapter_arguments(directory),
    }
    defaults = _ON_CPU if current_platform.is_cpu() else {}
    try:
        return AsyncEngineArgs(**{**defaults, **settings.engine_args, **own})
    except (TypeError, ValueError) as error:
        msg = f"engine.vllm.engine_args: vLLM refuses them: {error}"
        raise RaloError(msg) from error


def sampling_params(
    request: GenerationRequest, eos_token_ids: Iterable[int], alternatives: int
) -> SamplingParams:
    """Return what vLLM is to give for `request`: token ids, the log-prob of each, and for entropies
    those of so many `alternatives`."""
    return SamplingParams(
        temperature=request.temperature,
        top_p=min(request.top_p, 1.0),
        top_k=request.top_k,
        max_tokens=request.max_tokens,
        stop_token_ids=list(eos_token_ids),
        logprobs=alternatives if request.entropies else 0,
        flat_logprobs=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def check_temperature(request: GenerationRequest) -> None:
    """Raise `RaloError` for a temperature that vLLM would silently replace."""
    if 0 < request.temperature < _LOWEST_TEMPERATURE:
        msg = (
            f"generation request refused: vLLM samples at temperature {_LOWEST_TEMPERATURE} or "
            f"above, or greedily at 0, not at {request.temperature}"
        )
        raise RaloError(msg)

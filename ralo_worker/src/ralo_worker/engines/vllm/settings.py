"""Settings of the `vllm` engine; apart from the engine so that no vLLM is imported."""

from collections.abc import Mapping
from typing import Any

import attrs

from ralo_core import setting
from ralo_core.options.checks import at_least, one_of

RESERVED = frozenset(
    {"model", "tokenizer", "seed", "logprobs_mode", "weight_transfer_config", "skip_tokenizer_init",
     "enable_prefix_caching", "disable_log_stats", "generation_config", "load_format",
     "max_logprobs", "enable_lora", "max_loras", "max_lora_rank"}
)  # fmt: skip
"""Engine arguments that are the engine's own: another value would break its contract."""


def _not_reserved(_: Any, attribute: "attrs.Attribute[Any]", value: Mapping[str, Any]) -> None:
    taken = sorted(RESERVED & value.keys())
    if taken:
        msg = f"{', '.join(taken)}: the engine sets this itself; take it out"
        raise ValueError(msg)


@attrs.frozen(kw_only=True)
class VllmSettings:
    """``[engine.vllm]``."""

    in_flight: str = setting(
        "continue",
        "what becomes of running requests when new weights come; 'finish': they end under the old "
        "ones first, 'continue': they stop and go on from their tokens so far, computed anew, "
        "'keep_going': they go on over the keys and values of the old ones",
        one_of("finish", "continue", "keep_going"),
    )
    entropy_top_k: int = setting(
        20,
        "the most probable tokens, renormalised, from which an entropy that is asked for is "
        "estimated; more is nearer to the truth and slower",
        at_least(2),
    )
    engine_args: Mapping[str, Any] = setting(
        {},
        "arguments of vLLM's engine, e.g. {tensor_parallel_size = 2, max_num_seqs = 512}",
        _not_reserved,
    )

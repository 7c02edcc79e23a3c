"""Settings of the `transformers` engine; apart from the engine so that no torch is imported."""

import attrs

from ralo_core import setting
from ralo_core.options.checks import at_least, one_of, positive


@attrs.frozen(kw_only=True)
class TransformersSettings:
    """``[engine.transformers]``."""

    max_batch: int = setting(256, "rows decoded together; further requests wait", positive)
    dtype: str = setting(
        "auto",
        "dtype of weights and KV cache; 'auto': float32 on CPU, else as saved",
        one_of("auto", "float32", "bfloat16", "float16"),
    )
    device: str = setting("auto", "torch device; 'auto': the first GPU, else the CPU")
    prefix_cache_tokens: int = setting(
        65536,
        "tokens of finished segments whose keys and values are kept for requests that continue "
        "them; 0: none",
        at_least(0),
    )

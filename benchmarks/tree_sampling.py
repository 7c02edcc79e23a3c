"""Tree sampling against independent sampling on the `transformers` engine, one thread.

    python benchmarks/tree_sampling.py

What is measured stands in `contestants.tree_sampling`.
"""

from pathlib import Path

import torch
from contestants.tree_sampling import main

from ralo_core import BuildContext
from ralo_core.protocols import InferenceEngine
from ralo_worker.engines.transformers.engine import TransformersEngine
from ralo_worker.engines.transformers.settings import TransformersSettings


def engine_of(directory: Path) -> InferenceEngine:
    """Return an engine of the model in `directory`."""
    torch.set_num_threads(1)
    return TransformersEngine(
        TransformersSettings(), BuildContext(role="sampler", model_dir=directory)
    )


if __name__ == "__main__":
    main(engine_of)

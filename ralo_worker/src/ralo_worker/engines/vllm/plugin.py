"""What vLLM loads in each of its processes: our weight transfer engine, and a tie to the sampler.

The entry point in the group ``vllm.general_plugins`` names `register`. It is loaded wherever vLLM
runs beside ralo-worker, so this module imports next to nothing, and it changes nothing in a vLLM
that no sampler started.
"""

import multiprocessing
import os

BACKEND = "ralo_directory"
OWNER_ENV = "RALO_VLLM_OWNER"
"""The process id of the sampler whose engine it is."""


def register() -> None:
    """Tell vLLM where the weight transfer engine is; being called twice does no harm."""
    from vllm.distributed.weight_transfer import WeightTransferEngineFactory

    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(
            BACKEND, "ralo_worker.engines.vllm.weights", "DirectoryWeightEngine"
        )
    if OWNER_ENV in os.environ and multiprocessing.parent_process() is not None:
        _belong_to(int(os.environ[OWNER_ENV]))


def _belong_to(owner: int) -> None:
    """End with the sampler even if it is killed with -9, and leave Ctrl-C in a terminal to it: it
    hands its work back first."""
    from ralo_core.supervise import die_with

    os.setpgid(0, 0)
    if os.getppid() == owner:  # vLLM's workers watch over their parent themselves
        die_with(owner)

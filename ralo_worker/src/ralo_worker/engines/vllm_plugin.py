"""What vLLM loads in each of its processes: the name of our weight transfer engine.

Neighbours: the entry-point group ``vllm.general_plugins`` names `register`; `vllm_engine` asks for
`BACKEND`. It imports next to nothing, for it is loaded wherever vLLM runs beside ralo-worker.
"""

BACKEND = "ralo_directory"


def register() -> None:
    """Tell vLLM where the weight transfer engine is; being called twice does no harm."""
    from vllm.distributed.weight_transfer import WeightTransferEngineFactory

    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(
            BACKEND, "ralo_worker.engines.vllm_weights", "DirectoryWeightEngine"
        )

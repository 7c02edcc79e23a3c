"""What ralo-worker registers, as import paths: importing this module loads no torch.

Neighbours: `ralo_core.registry` calls these hooks once and imports a factory on first use.
"""

from ralo_core import Command, Component, hookimpl


@hookimpl
def ralo_register_inference_engines() -> list[Component]:
    """Register `transformers` and `vllm`."""
    return [
        Component(
            name="transformers",
            factory="ralo_worker.engines.transformers:TransformersEngine",
            config="ralo_worker.engines.settings:TransformersSettings",
            summary="continuous batching on a Hugging Face causal LM, CPU or GPU",
        ),
        Component(
            name="vllm",
            factory="ralo_worker.engines.vllm:open_engine",
            config="ralo_worker.engines.vllm_settings:VllmSettings",
            summary="vLLM, with weights loaded through its weight transfer interface",
        ),
    ]


@hookimpl
def ralo_register_losses() -> list[Component]:
    """Register `clip`."""
    return [
        Component(
            name="clip",
            factory="ralo_worker.losses.clip:ClipLoss",
            config="ralo_worker.losses.settings:ClipSettings",
            summary="clipped policy ratio with asymmetric bounds, normalised per token",
        )
    ]


@hookimpl
def ralo_register_rewards() -> list[Component]:
    """Register `math`."""
    return [
        Component(
            name="math",
            factory="ralo_worker.rewards.math:MathReward",
            config="ralo_worker.rewards.settings:MathSettings",
            summary="1 if math-verify finds the answer equal to the reference, else 0",
        )
    ]


@hookimpl
def ralo_register_commands() -> list[Command]:
    """Register `sample`, `train` and `model`."""
    return [
        Command(
            name="sample",
            target="ralo_worker.cli.sample:sample",
            summary="Run a sampler: lease problems, generate, score, upload.",
        ),
        Command(
            name="train",
            target="ralo_worker.cli.train:train",
            summary="Run a trainer: lease batches, compute gradients, upload.",
        ),
        Command(
            name="model",
            target="ralo_worker.cli.model:model",
            summary="Make the embedded tiny model.",
        ),
    ]

"""What ralo-worker registers, as import paths: importing this module loads no torch."""

from ralo_core import Command, Component, hookimpl


@hookimpl
def ralo_register_inference_engines() -> list[Component]:
    """Register `transformers` and `vllm`."""
    return [
        Component(
            name="transformers",
            factory="ralo_worker.engines.transformers.engine:TransformersEngine",
            config="ralo_worker.engines.transformers.settings:TransformersSettings",
            summary="continuous batching on a Hugging Face causal LM, CPU or GPU",
        ),
        Component(
            name="vllm",
            factory="ralo_worker.engines.vllm.opening:open_engine",
            config="ralo_worker.engines.vllm.settings:VllmSettings",
            summary="vLLM, with weights loaded through its weight transfer interface",
        ),
    ]


@hookimpl
def ralo_register_losses() -> list[Component]:
    """Register `clip`, `policy_gradient`, `decoupled` and `dppo`."""
    return [
        Component(
            name="clip",
            factory="ralo_worker.losses.clip:ClipLoss",
            config="ralo_worker.losses.settings:ClipSettings",
            summary="clipped policy ratio with asymmetric bounds",
        ),
        Component(
            name="policy_gradient",
            factory="ralo_worker.losses.policy_gradient:PolicyGradientLoss",
            summary="REINFORCE; what corrections such as tis weigh",
        ),
        Component(
            name="decoupled",
            factory="ralo_worker.losses.decoupled:DecoupledLoss",
            config="ralo_worker.losses.settings:DecoupledSettings",
            summary="PPO around a policy one version old, interpolated (A-3PO)",
        ),
        Component(
            name="dppo",
            factory="ralo_worker.losses.dppo:DppoLoss",
            config="ralo_worker.losses.settings:DppoSettings",
            summary="a trust region in probabilities, and a price on the squared log-ratio",
        ),
    ]


@hookimpl
def ralo_register_corrections() -> list[Component]:
    """Register what weighs rollouts of other policies."""
    return [
        _correction("tis", "tokens:Tis", "TisSettings", "ratio of a token, truncated"),
        _correction("icepop", "tokens:IcePop", "IcePopSettings", "ratio of a token, or nothing"),
        _correction("kpop", "tokens:KPop", "KPopSettings", "leaves out tokens of a large KL"),
        _correction(
            "m2po",
            "second_moment:M2po",
            "M2poSettings",
            "leaves out the farthest tokens of a batch that is too far off",
        ),
        _correction(
            "sequence_tis",
            "sequences:SequenceTis",
            "SequenceTisSettings",
            "ratio of a response, truncated",
        ),
        _correction(
            "geometric_mask",
            "sequences:GeometricMask",
            "GeometricMaskSettings",
            "leaves out responses whose mean ratio is far from 1",
        ),
        _correction(
            "opsm", "sequences:Opsm", "OpsmSettings", "leaves out bad responses that are far off"
        ),
        _correction("topr", "sequences:Topr", "ToprSettings", "ratio of bad responses, truncated"),
        _correction(
            "staleness",
            "sequences:Staleness",
            "StalenessSettings",
            "weighs responses by how many versions they are behind",
        ),
    ]


def _correction(name: str, factory: str, config: str, summary: str) -> Component:
    return Component(
        name=name,
        factory=f"ralo_worker.corrections.{factory}",
        config=f"ralo_worker.corrections.settings:{config}",
        summary=summary,
    )


@hookimpl
def ralo_register_commands() -> list[Command]:
    """Register `sample` and `train`."""
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
    ]

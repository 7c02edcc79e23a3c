"""TreePO as a RALO plugin: what it registers, and the recipe that ``--plugin treepo`` selects.

Li et al., "TreePO: Bridging the Gap of Policy Optimization and Efficacy and Inference
Efficiency with Heuristic Tree-based Modeling", 2025 (arXiv 2508.17445). This module is
imported in every process, the modules beside it only where they are used.
"""

from ralo_core import Component, Recipe, hookimpl

__version__ = "0.1.0"

RECIPE = Recipe(
    name="treepo",
    summary="tree rollouts with shared prefixes, advantages relative to every sub-tree",
    defaults={
        "sampling": {"use": "treepo"},
        "advantage": {"use": "treepo"},
        # The measured choice, see docs/learning.md: as good as any up to 4 versions of staleness,
        # and the one that loses nothing at 16.
        "loss": {"use": "policy_gradient"},
        "correction": {"pipeline": ["opsm"]},
        "optimizer": {"adamw": {"lr": 1e-6, "warmup_steps": 10, "weight_decay": 0.1}},
    },
    tiny={
        "sampling": {"treepo": {"width": 8, "depth": 4, "segment_tokens": 8}},
        "optimizer": {"adamw": {"lr": 1e-4, "warmup_steps": 0, "weight_decay": 0.0}},
        "learner": {"dtype": "float32"},
    },
)


@hookimpl
def ralo_register_sampling_algorithms() -> list[Component]:
    """Register `treepo`."""
    return [
        Component(
            name="treepo",
            factory="ralo_treepo.sampler:TreeSampler",
            config="ralo_treepo.settings:TreeSamplerSettings",
            summary="segment-wise tree of responses with branching and fallback",
        )
    ]


@hookimpl
def ralo_register_advantage_estimators() -> list[Component]:
    """Register `treepo` and `treepo_segment`."""
    return [
        Component(
            name="treepo",
            factory="ralo_treepo.advantage:TreeAdvantage",
            config="ralo_treepo.settings:TreeAdvantageSettings",
            summary="reward relative to the mean of every sub-tree on the path, whitened",
        ),
        Component(
            name="treepo_segment",
            factory="ralo_treepo.segment_advantage:SegmentAdvantage",
            config="ralo_treepo.settings:SegmentAdvantageSettings",
            summary="per segment, what it changed in the value of the node",
        ),
    ]


@hookimpl
def ralo_register_recipes() -> list[Recipe]:
    """Register `treepo`."""
    return [RECIPE]

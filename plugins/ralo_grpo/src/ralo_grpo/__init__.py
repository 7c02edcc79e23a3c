"""GRPO as a RALO plugin: what it registers, and the recipe that ``--plugin grpo`` selects.

Shao et al., "DeepSeekMath", 2024 (arXiv 2402.03300). Neighbours: ralo-core finds this module
through its entry point; the modules beside it are imported on use.
"""

from ralo_core import Component, Recipe, hookimpl

__version__ = "0.1.0"

RECIPE = Recipe(
    name="grpo",
    summary="groups of independent responses, group-relative advantages, clip-higher",
    defaults={
        "sampling": {"use": "grpo"},
        "advantage": {"use": "grpo"},
        "loss": {"use": "clip"},
        "optimizer": {"adamw": {"lr": 1e-6, "warmup_steps": 10, "weight_decay": 0.1}},
    },
    tiny={
        "sampling": {"grpo": {"group": 8, "max_tokens": 32}},
        "optimizer": {"adamw": {"lr": 1e-4, "warmup_steps": 0, "weight_decay": 0.0}},
        "learner": {"dtype": "float32"},
    },
)


@hookimpl
def ralo_register_sampling_algorithms() -> list[Component]:
    """Register `grpo`."""
    return [
        Component(
            name="grpo",
            factory="ralo_grpo.sampler:GroupSampler",
            config="ralo_grpo.sampler:GroupSamplerSettings",
            summary="a group of independent responses per problem",
        )
    ]


@hookimpl
def ralo_register_advantage_estimators() -> list[Component]:
    """Register `grpo`."""
    return [
        Component(
            name="grpo",
            factory="ralo_grpo.advantage:GroupAdvantage",
            config="ralo_grpo.advantage:GroupAdvantageSettings",
            summary="reward relative to the group's mean, in units of its deviation",
        )
    ]


@hookimpl
def ralo_register_recipes() -> list[Recipe]:
    """Register `grpo`."""
    return [RECIPE]

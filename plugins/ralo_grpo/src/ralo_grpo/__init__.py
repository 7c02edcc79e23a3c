"""The GRPO family as a RALO plugin: what it registers; its recipes are in `recipes`.

This module is imported in every process; the modules beside it that need torch only where they are
used.
"""

from ralo_core import Component, Recipe, hookimpl
from ralo_grpo.recipes import RECIPES

__version__ = "0.1.0"


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
    """Register `grpo`, `rloo`, `reinforce_pp` and `reinforce_pp_baseline`."""
    return [
        Component(
            name="grpo",
            factory="ralo_grpo.advantage:GroupAdvantage",
            config="ralo_grpo.advantage:GroupAdvantageSettings",
            summary="reward relative to the group's mean, in units of its deviation",
        ),
        Component(
            name="rloo",
            factory="ralo_grpo.advantage:LeaveOneOut",
            summary="reward relative to the mean of the other responses",
        ),
        Component(
            name="reinforce_pp",
            factory="ralo_grpo.advantage:WhitenedReward",
            config="ralo_grpo.advantage:WhitenedSettings",
            summary="reward whitened over all tokens of the batch",
        ),
        Component(
            name="reinforce_pp_baseline",
            factory="ralo_grpo.advantage:WhitenedGroup",
            config="ralo_grpo.advantage:WhitenedSettings",
            summary="reward relative to the group's mean, whitened over the batch",
        ),
    ]


@hookimpl
def ralo_register_losses() -> list[Component]:
    """Register `gspo` and `cispo`."""
    return [
        Component(
            name="gspo",
            factory="ralo_grpo.gspo:GspoLoss",
            config="ralo_grpo.gspo:GspoSettings",
            summary="one clipped ratio per response",
        ),
        Component(
            name="cispo",
            factory="ralo_grpo.cispo:CispoLoss",
            config="ralo_grpo.cispo:CispoSettings",
            summary="the clipped ratio as a weight without gradient",
        ),
    ]


@hookimpl
def ralo_register_recipes() -> list[Recipe]:
    """Register the family."""
    return RECIPES

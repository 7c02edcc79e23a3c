"""The recipes: each a choice of parts, written as what differs from plain GRPO.

    grpo                  groups, their deviation, every response alike; Shao et al. 2024
    dr_grpo               neither deviation nor length in the denominator; Liu et al. 2025
    rloo                  the other responses are the baseline, no clipping in the way; Ahmadian
                          et al. 2024
    reinforce_pp          whitened rewards, no group needed; Hu 2025
    reinforce_pp_baseline the same over what the group's mean leaves
    dapo                  clip-higher, every token alike, overlong responses cost, dynamic sampling;
                          Yu et al. 2025 (arXiv 2503.14476); with another task keep 'overlong' in
                          the pipeline, behind what says whether an answer is right
    gspo                  one ratio per response; Zheng et al. 2025
    cispo                 the ratio as a bounded weight; MiniMax 2025

The KL term of some of these papers is left out, as
their successors do; `regularisation.kl` adds it.
"""

from collections.abc import Mapping
from typing import Any

from ralo_core import Recipe

_BASE: dict[str, Any] = {
    "sampling": {"use": "grpo"},
    "advantage": {"use": "grpo"},
    "loss": {"use": "clip", "clip": {"average": "sequence", "clip_high": 0.2}},
    "optimizer": {"adamw": {"lr": 1e-6, "warmup_steps": 10, "weight_decay": 0.1}},
}
_TINY: dict[str, Any] = {
    "sampling": {"grpo": {"group": 8, "max_tokens": 32}},
    "optimizer": {"adamw": {"lr": 1e-4, "warmup_steps": 0, "weight_decay": 0.0}},
    "learner": {"dtype": "float32"},
}
_TOKEN_MEAN = {"use": "clip", "clip": {"average": "token", "clip_high": 0.2}}


def _recipe(
    name: str,
    summary: str,
    tiny: Mapping[str, Any] | None = None,
    **differences: Mapping[str, Any],
) -> Recipe:
    return Recipe(
        name=name,
        summary=summary,
        defaults={**_BASE, **differences},
        tiny={**_TINY, **(tiny or {})},
    )


RECIPES = [
    _recipe("grpo", "groups of independent responses, advantages in units of their deviation"),
    _recipe(
        "dr_grpo",
        "GRPO without the biases of length and difficulty",
        tiny={"loss": {"clip": {"constant_tokens": 32}}},
        advantage={"use": "grpo", "grpo": {"scale": False}},
        loss={
            "use": "clip",
            "clip": {"average": "constant", "constant_tokens": 7168, "clip_high": 0.2},
        },
    ),
    _recipe(
        "rloo",
        "REINFORCE with the other responses as the baseline",
        advantage={"use": "rloo"},
        loss=_TOKEN_MEAN,
    ),
    _recipe(
        "reinforce_pp",
        "REINFORCE++: rewards whitened over the batch, one response is enough",
        advantage={"use": "reinforce_pp"},
        loss=_TOKEN_MEAN,
    ),
    _recipe(
        "reinforce_pp_baseline",
        "REINFORCE++ with the group's mean as the baseline",
        advantage={"use": "reinforce_pp_baseline"},
        loss=_TOKEN_MEAN,
    ),
    _recipe(
        "dapo",
        "clip-higher, token mean, a price on overlong responses, dynamic sampling",
        tiny={"reward": {"overlong": {"max_tokens": 32, "buffer_tokens": 8}}},
        loss={"use": "clip", "clip": {"average": "token", "clip_high": 0.28}},
        reward={
            "pipeline": ["arithmetic", "overlong"],
            "overlong": {"max_tokens": 7168, "buffer_tokens": 512},
        },
        # Equation 11 is on right answers: a length alone makes no group worth training on.
        trainer={"dynamic_sampling": "first"},
    ),
    _recipe("gspo", "one clipped ratio per response", loss={"use": "gspo"}),
    _recipe("cispo", "the clipped ratio as a weight without gradient", loss={"use": "cispo"}),
]

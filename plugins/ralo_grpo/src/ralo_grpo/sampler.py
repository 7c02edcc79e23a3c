"""Group sampling: G independent responses to one prompt, as a tree of depth one.

The requests of a group are sent in one call; the engine batches those of all problems.
"""

import attrs

from ralo_core import (
    PROMPT,
    BuildContext,
    InferenceEngine,
    Problem,
    RolloutTree,
    SamplingContext,
    TreeBuilder,
    positive,
    setting,
)


@attrs.frozen(kw_only=True)
class GroupSamplerSettings:
    """``[sampling.grpo]``."""

    group: int = setting(16, "responses per problem (G in the paper)", positive)
    max_tokens: int = setting(7168, "most tokens of a response", positive)


class GroupSampler:
    """Satisfies `ralo_core.protocols.SamplingAlgorithm`."""

    def __init__(self, settings: GroupSamplerSettings, context: BuildContext) -> None:
        self._settings = settings
        self.max_response_tokens = settings.max_tokens

    async def sample(
        self, problem: Problem, engine: InferenceEngine, context: SamplingContext
    ) -> RolloutTree:
        """Return the group of `problem`."""
        most = min(self.max_response_tokens, context.max_tokens)
        request = context.request((), most)
        completions = await engine.generate([request] * self._settings.group)
        tree = TreeBuilder(problem.id, context.prompt, context.temperature)
        for done in completions:
            segment = tree.add_segment(PROMPT, done.tokens, done.logprobs, done.version)
            tree.add_leaf(segment, done.finish_reason)
        return tree.build()

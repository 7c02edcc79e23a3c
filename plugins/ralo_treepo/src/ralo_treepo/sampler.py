"""Tree sampling, algorithm 1 of the TreePO paper, for one problem.

A node is a segment of at most l tokens and one engine request. Each round continues every
live path; the paths that ended give their share of the width to the others (branching budget
transfer). When no path lives and leaves are missing, an answered path is resumed from one of
its segment boundaries (fallback), so that prompt and response are always cut together.

Neighbours: the sampler runtime runs many problems at once on one engine, so no tree ever waits
for another; `budget` holds the arithmetic. Settings are in `settings`.
"""

from collections.abc import Sequence
from random import Random

from ralo_core import (
    PROMPT,
    BuildContext,
    Completion,
    GenerationRequest,
    Problem,
    RolloutTree,
    SamplingContext,
    TreeBuilder,
)
from ralo_core.protocols import InferenceEngine
from ralo_treepo.budget import fallback_width, round_width, split_evenly
from ralo_treepo.settings import TreeSamplerSettings

_DEPTH = "depth"
_FINISHED = "eos"


class TreeSampler:
    """Satisfies `ralo_core.protocols.SamplingAlgorithm`."""

    def __init__(self, settings: TreeSamplerSettings, context: BuildContext) -> None:
        self._settings = settings
        self.max_response_tokens = settings.depth * settings.segment_tokens

    async def sample(
        self, problem: Problem, engine: InferenceEngine, context: SamplingContext
    ) -> RolloutTree:
        """Return a tree with `width` leaves; fewer only where fallback is off."""
        growth = _Growth(self._settings, context, problem.id)
        paths = growth.first_paths()
        while paths:
            requests = [growth.request(node) for node in paths]
            completions = await engine.generate(requests)
            paths = growth.grow(paths, completions)
        return growth.tree.build(growth.facts())


class _Growth:
    """One tree under way. A path is named by its last node, `PROMPT` for a bare prompt."""

    def __init__(
        self, settings: TreeSamplerSettings, context: SamplingContext, problem_id: str
    ) -> None:
        self.settings = settings
        self.context = context
        self.tree = TreeBuilder(problem_id, context.prompt, context.temperature)
        self.limit = min(settings.depth * settings.segment_tokens, context.max_tokens)
        self.depths = {PROMPT: 0}
        self.lengths = {PROMPT: 0}
        self.answered: list[int] = []
        self.rounds = self.fallbacks = 0

    def first_paths(self) -> list[int]:
        """Return the initial divergence: copies of the bare prompt."""
        low, high = self.settings.init_branch_min, self.settings.init_branch_max
        return [PROMPT] * min(self.context.random.randint(low, high), self.settings.width)

    def request(self, node: int) -> GenerationRequest:
        """Return the engine request that continues a path by one segment."""
        left = self.limit - self.lengths[node]
        return self.context.request(
            self.tree.response(node), min(self.settings.segment_tokens, left)
        )

    def grow(self, paths: Sequence[int], completions: Sequence[Completion]) -> list[int]:
        """Add a round of segments and return the paths of the next one."""
        self.rounds += 1
        before = self.tree.leaf_count
        alive = []
        for parent, done in zip(paths, completions, strict=True):
            node = self.tree.add_segment(parent, done.tokens, done.logprobs, done.version)
            self.depths[node] = self.depths[parent] + 1
            self.lengths[node] = self.lengths[parent] + len(done.tokens)
            reason = self._finish_reason(node, done.finish_reason)
            if reason:
                self.tree.add_leaf(node, reason)
                if reason == _FINISHED:
                    self.answered.append(node)
            else:
                alive.append(node)
        if not alive:
            return self._fall_back()
        ended = self.tree.leaf_count - before
        budget = round_width(
            self.settings.width, self.tree.leaf_count, ended, len(alive), self.settings.branch
        )
        copies = split_evenly(budget, len(alive))
        return [node for node, count in zip(alive, copies, strict=True) for _ in range(count)]

    def facts(self) -> dict[str, int]:
        """Return counts for diagnostics."""
        return {"rounds": self.rounds, "fallbacks": self.fallbacks}

    def _finish_reason(self, node: int, engine_reason: str) -> str:
        """Return why a path ends here, ``""`` if it does not: EOS, token limit, depth."""
        if engine_reason == _FINISHED:
            return _FINISHED
        if self.lengths[node] >= self.limit:
            return "length"
        return _DEPTH if self.depths[node] >= self.settings.depth else ""

    def _fall_back(self) -> list[int]:
        """Return new paths for the leaves that are missing, none if the tree is complete."""
        missing = self.settings.width - self.tree.leaf_count
        if missing <= 0 or self.settings.fallback == "off":
            return []
        self.fallbacks += 1
        starts = [PROMPT]
        if self.settings.fallback == "random" and self.answered:
            starts = [self._random_ancestor(leaf) for leaf in self._shuffled_answers()]
        copies = fallback_width(missing, len(starts), self.settings.branch)
        return [node for node, count in zip(starts, copies, strict=False) for _ in range(count)]

    def _shuffled_answers(self) -> list[int]:
        order = list(self.answered)
        self._random.shuffle(order)
        return order

    def _random_ancestor(self, leaf: int) -> int:
        """Return a node before the last segment of a path, each with the same probability."""
        chain = []
        while leaf != PROMPT:
            leaf = self.tree.parent(leaf)
            chain.append(leaf)
        return self._random.choice(chain)

    @property
    def _random(self) -> Random:
        return self.context.random

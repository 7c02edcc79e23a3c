"""Tree sampling, algorithm 1 of the TreePO paper, for one problem.

A node is a segment of at most l tokens and one engine request. Each round continues every
live path; the paths that ended give their share of the width to the others (branching budget
transfer). When no path lives and leaves are missing, a path that ended is resumed from one of
its segment boundaries (fallback).

Many problems are sampled at once on one engine, so no tree ever waits for another. `budget` and
`split` share the width, `stopping` reads the text, `fallback` says where to resume.
"""

from collections.abc import Sequence

from ralo_core import (
    BuildContext,
    Completion,
    GenerationRequest,
    InferenceEngine,
    Problem,
    RaloError,
    RolloutTree,
    SamplingContext,
    TreeBuilder,
)
from ralo_treepo.budget import fallback_width, round_width
from ralo_treepo.fallback import resumption_points
from ralo_treepo.path import Path
from ralo_treepo.settings import TreeSamplerSettings
from ralo_treepo.split import copies
from ralo_treepo.stopping import Read, read_on


class TreeSampler:
    """Satisfies `ralo_core.protocols.SamplingAlgorithm`."""

    def __init__(self, settings: TreeSamplerSettings, context: BuildContext) -> None:
        self._settings = settings
        self.max_response_tokens = settings.most_tokens

    async def sample(
        self, problem: Problem, engine: InferenceEngine, context: SamplingContext
    ) -> RolloutTree:
        """Return a tree with `width` leaves; fewer only where fallback is off."""
        growth = _Growth(self._settings, context, problem.id)
        paths = growth.first_paths()
        while paths:
            requests = [growth.request(path) for path in paths]
            completions = await engine.generate(requests)
            _check_answered(requests, completions, engine)
            paths = growth.grow(paths, completions, engine.version)
        return growth.tree.build(growth.counts())


class _Growth:
    """One tree under way."""

    def __init__(
        self, settings: TreeSamplerSettings, context: SamplingContext, problem_id: str
    ) -> None:
        self.settings = settings
        self.context = context
        self.tree = TreeBuilder(problem_id, context.prompt, context.temperature)
        self.limit = min(settings.most_tokens, context.max_tokens)
        self.prompt = Path()
        self.ended: list[tuple[Path, str]] = []
        self.rounds = self.fallbacks = 0

    def first_paths(self) -> list[Path]:
        """Return the initial divergence: copies of the bare prompt."""
        low, high = self.settings.init_branch_min, self.settings.init_branch_max
        return [self.prompt] * min(self.context.random.randint(low, high), self.settings.width)

    def request(self, path: Path) -> GenerationRequest:
        """Return the engine request that continues a path by one segment."""
        most = min(self.settings.segment_tokens, self.limit - path.tokens)
        entropies = self.settings.split == "entropy"
        return self.context.request(self.tree.response(path.node), most, entropies=entropies)

    def grow(
        self, paths: Sequence[Path], completions: Sequence[Completion], version: int
    ) -> list[Path]:
        """Add a round of segments and return the paths of the next one."""
        self.rounds += 1
        before, alive = self.tree.leaf_count, []
        for path, done in zip(paths, completions, strict=True):
            longer = self._extended(path, done)
            reason = self._finish_reason(longer, done.finish_reason)
            if reason:
                self.tree.add_leaf(longer.node, reason)
                self.ended.append((longer, reason))
            else:
                alive.append(longer)
        return self._branched(alive, before, version) if alive else self._fallen_back()

    def counts(self) -> dict[str, int]:
        """Return counts for diagnostics."""
        return {"rounds": self.rounds, "fallbacks": self.fallbacks}

    def _extended(self, path: Path, done: Completion) -> Path:
        node = self.tree.add_segment(path.node, done.tokens, done.logprobs, done.version)
        return path.extended(node, done, self._read(path.read, done))

    def _read(self, before: Read, done: Completion) -> Read:
        if not self.settings.stop_boxed and self.settings.stop_repetition == "off":
            return before
        return read_on(before, self.context.decode(done.tokens))

    def _finish_reason(self, path: Path, engine_reason: str) -> str:
        """Return the first reason that ends a path here, ``""`` if there is none."""
        settings, repeats = self.settings, path.read.repeats
        reasons = {
            "repetition": repeats and settings.stop_repetition == "first",
            "boxed": path.read.boxed and settings.stop_boxed,
            "eos": engine_reason == "eos",
            "length": path.tokens >= self.limit,
            "depth": path.depth >= settings.depth,
        }
        found = next((reason for reason, holds in reasons.items() if holds), "")
        last = repeats and settings.stop_repetition == "last"
        return found or ("repetition" if last else "")

    def _branched(self, alive: Sequence[Path], leaves_before: int, version: int) -> list[Path]:
        leaves = self.tree.leaf_count
        total = round_width(
            self.settings.width, leaves, leaves - leaves_before, len(alive), self.settings.branch
        )
        counts = copies(total, alive, self.settings, version)
        return [path for path, count in zip(alive, counts, strict=True) for _ in range(count)]

    def _fallen_back(self) -> list[Path]:
        """Return new paths for the leaves that are missing, none if the tree is complete."""
        missing = self.settings.width - self.tree.leaf_count
        if missing <= 0 or self.settings.fallback == "off":
            return []
        self.fallbacks += 1
        random = self.context.random
        starts = resumption_points(self.ended, self.prompt, self.settings, random)
        counts = fallback_width(missing, len(starts), self.settings.branch)
        return [path for path, count in zip(starts, counts, strict=True) for _ in range(count)]


def _check_answered(
    requests: Sequence[GenerationRequest], completions: Sequence[Completion], engine: object
) -> None:
    """Raise `RaloError` if entropies were asked for and the engine gave none."""
    if any(
        request.entropies and done.entropies is None
        for request, done in zip(requests, completions, strict=True)
    ):
        msg = (
            f"sampling.treepo.split is 'entropy', and the inference engine {type(engine).__name__} "
            "gives no entropies; take another engine, or split = 'logprob'"
        )
        raise RaloError(msg)

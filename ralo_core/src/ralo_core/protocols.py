"""The contract of every component kind: what a built object must be able to do.

A component need not inherit from its protocol; `ralo_core.testing` checks whether it keeps it.
Torch objects appear as `Any`, because core never imports torch.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol, runtime_checkable

import attrs
import numpy as np
import numpy.typing as npt

from ralo_core.data import (
    Completion,
    EngineStats,
    GenerationRequest,
    Problem,
    Response,
    RolloutTree,
)
from ralo_core.options.benchmarks import BenchmarkSettings


@runtime_checkable
class ProblemProvider(Protocol):
    """Yields the problems of a run, in an order that depends on its settings alone.

    Runs in the orchestrator. `state` after k problems, given to `restore` of a fresh
    instance, makes it continue with problem k + 1. A finite provider also has ``__len__``.
    """

    def __iter__(self) -> Iterator[Problem]: ...
    def state(self) -> dict[str, Any]:
        """Return the position as JSON-able data."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a position that `state` returned."""

    def held_out(self, count: int) -> Sequence[Problem]:
        """Return up to `count` problems that iteration never yields, the same every time."""


@runtime_checkable
class InferenceEngine(Protocol):
    """Generates tokens. Runs in the sampler; many callers wait on `generate` at once.

    One that takes several devices says how many in an attribute `devices`; without it, it is one.
    """

    @property
    def version(self) -> int:
        """The weight version that new tokens are written with."""

    capacity: int
    """Requests that it decodes together; with fewer it is not full."""

    max_length: int
    """Tokens of prompt and completion together that the model can hold."""

    eos_token_ids: frozenset[int]
    """The ids that end a completion."""

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        """Return one completion per request, in order.

        Raises `RaloError` for what it cannot do; an engine that has no entropies refuses a request
        for `entropies` with a sentence that names the engine and what to do.
        """

    async def load_weights(self, version: int, directory: Path) -> float:
        """Swap in the safetensors files of `directory` between two decoding steps.

        Where it has an adapter (`ralo_core.adapters`) that alone has changed.

        Returns the seconds in which nothing was decoded. Raises `RaloError` for weights that do
        not fit; the engine then goes on with the old ones.
        """

    def stats(self) -> EngineStats:
        """Return how busy it is; cheap, and safe from any thread."""

    async def close(self) -> None:
        """Stop and free everything."""


@attrs.frozen(kw_only=True)
class SamplingContext:
    """What a sampling algorithm may use beside the engine.

    `prompt` holds the rendered problem's token ids, `eos_token_ids` the ids that end a
    response, `max_tokens` the most response tokens that fit the model, `decode` turns token
    ids into text, `random` is seeded per problem.
    """

    prompt: tuple[int, ...]
    eos_token_ids: frozenset[int]
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    random: Random
    decode: Any

    def request(
        self, response: Sequence[int], max_tokens: int, *, entropies: bool = False
    ) -> GenerationRequest:
        """Return the request that continues prompt + `response` under the run's sampling."""
        return GenerationRequest(
            prompt=(*self.prompt, *response),
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            entropies=entropies,
        )


@runtime_checkable
class SamplingAlgorithm(Protocol):
    """Turns a problem into a rollout tree. Runs in the sampler, many problems at a time."""

    max_response_tokens: int
    """The most tokens of a response; evaluations keep to it, too."""

    async def sample(
        self, problem: Problem, engine: InferenceEngine, context: SamplingContext
    ) -> RolloutTree:
        """Return the tree of all rollouts of `problem`, not yet scored."""


@runtime_checkable
class Reward(Protocol):
    """Scores responses. Runs in the sampler, off the event loop, once per problem."""

    def score(self, problem: Problem, responses: Sequence[Response]) -> Sequence[float]:
        """Return one finite number per response, whatever the order of the responses is."""


@runtime_checkable
class AdvantageEstimator(Protocol):
    """Turns rewards into advantages. Pure and numpy only; runs in the trainer per batch."""

    def estimate(self, trees: Sequence[RolloutTree]) -> list[npt.NDArray[np.float32]]:
        """Return per tree float32[L], a value per leaf, or float32[L, D], a value per leaf
        and segment of its path (entry k for the k-th segment, the rest unused)."""


_MAX_LOG_RATIO = 20.0


@attrs.frozen(kw_only=True, eq=False)
class LossBatch:
    """Padded rows for a loss, torch tensors of shape [rows, tokens].

    `behaviour_logprobs`, `advantages` float32 and `mask` bool (True where a response token is
    trained). `staleness` int64[rows] is trainer version minus the newest version in the row.
    """

    behaviour_logprobs: Any
    advantages: Any
    mask: Any
    staleness: Any

    def log_ratio(self, policy_logprobs: Any) -> Any:
        """Return ``log pi - log mu`` float32[rows, tokens], with the gradient of the policy: 0
        outside the mask, and within +-20: exp of more would overflow."""
        ratio = (policy_logprobs - self.behaviour_logprobs).masked_fill(~self.mask, 0.0)
        return ratio.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)

    def rows(self, some: slice) -> "LossBatch":
        """Return `some` of the rows as a batch of their own."""
        values = {name: getattr(self, name)[some] for name in attrs.fields_dict(LossBatch)}
        return LossBatch(**values)


@runtime_checkable
class Loss(Protocol):
    """The policy objective. Runs in the trainer, once per micro-batch.

    A loss whose gradient is zero where the advantage is may have a method ``normaliser(lengths)``
    that returns the normaliser of rows of so many trained tokens each: the trainer then leaves
    out rows of advantage zero, and counts them with it.
    """

    def loss(self, policy_logprobs: Any, batch: LossBatch) -> tuple[Any, float, dict[str, float]]:
        """Return ``(sum, normaliser, metrics)`` from `policy_logprobs` float32[rows, tokens].

        `sum` is a torch scalar, the summed loss of the micro-batch; the gradient of the batch
        is that of ``total sum / total normaliser``. `metrics` are sums over the micro-batch
        too: the trainer divides their totals by the total normaliser.
        """


@runtime_checkable
class Correction(Protocol):
    """Weighs what another policy than the present one sampled. Runs in the trainer, once per
    micro-batch.

    The trainer multiplies the advantages by the weights of each correction of the pipeline, then
    asks the loss: one that is linear in the advantages, for a given ratio, is so weighed itself.
    """

    def weigh(self, log_ratio: Any, batch: LossBatch) -> Any:
        """Return float32[rows, tokens], at least 0, from ``log pi - log mu`` float32[rows, tokens],
        as `LossBatch.log_ratio` gives it, without gradient. Every row by itself."""


@runtime_checkable
class SurveyingCorrection(Correction, Protocol):
    """A correction that must see the whole batch before it weighs any part of it.

    For its sake the trainer computes the log-ratios once more, without gradient.
    """

    def survey(self, parts: Sequence[tuple[Any, LossBatch]]) -> None:
        """Record what `weigh` needs of a batch: log-ratios and rows of each of its micro-batches.

        Called before the first `weigh` of every batch. What is recorded must not depend on the
        cut. Rows that have no advantage may be missing, as in `weigh`.
        """


@attrs.frozen(kw_only=True)
class GradientInfo:
    """What an aggregator decides on: the declaration of one gradient, without its tensors."""

    upload_id: str
    """Which upload it is; the same for every try of it."""
    base_version: int
    """The weight version that the gradient was computed at."""
    weight: float
    """The normaliser of its loss, usually the number of tokens that were trained on."""


@runtime_checkable
class Aggregator(Protocol):
    """Says how the gradients of one step combine. Runs in the learner.

    `weigh` is called once per step, `combine` once per slice of every parameter: never with more
    values than one slice has, so that memory does not grow with the model.
    """

    def weigh(self, gradients: Sequence[GradientInfo], current_version: int) -> Sequence[float]:
        """Return one finite weight >= 0 per gradient; 0 leaves it out of the step, unread.

        If all are 0 no step is taken: the gradients are consumed and counted as left out.
        """

    def combine(
        self, values: npt.NDArray[np.float32], weights: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        """Return float32[n] from `values` float32[K, n] of the K gradients with `weights` > 0.

        Every column by itself, whatever its neighbours are, and `values` stay as they are: they
        may be a read-only view of a file.
        """


@runtime_checkable
class OptimizerFactory(Protocol):
    """Makes the optimizer and steers it. Runs in the learner.

    The optimizer must be elementwise: what it does to a value may depend on that value, its
    gradient, its state and the learning rate, not on other values of the tensor. The learner
    steps slice by slice, one ``step()`` each, so nothing may be counted per group or optimizer.
    """

    def build(self, named_parameters: Iterable[tuple[str, Any]]) -> Any:
        """Return a ``torch.optim.Optimizer`` over fp32 parameters.

        Names and shapes are those of the model, so groups can be made of them; the values are
        not there yet. State is tensors of the parameter's size, or scalars, made in the first step.
        """

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of optimizer step `step`, counted from 1."""

    @property
    def max_grad_norm(self) -> float | None:
        """The bound on the global L2 norm of the aggregate, or None for no clipping."""


@runtime_checkable
class ScalingOptimizerFactory(OptimizerFactory, Protocol):
    """An optimizer that looks at the gradients of a step before it sets its size."""

    def rate_factor(self, metrics: Mapping[str, float]) -> float:
        """Return what the learning rate of a step is multiplied with, finite and at least 0.

        `metrics` are those of its gradients, averaged by their weight. Called once per step: the
        rate that was used is logged, and a step that is taken again reads it from the log.
        """


@runtime_checkable
class GradientCodec(Protocol):
    """Encodes one gradient tensor for the wire. Runs in the trainer; web processes decode what they
    validate, the learner what it steps."""

    def encode(self, name: str, value: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays to send; keys are suffixes, ``""`` for the main one."""

    def size(self, parts: Mapping[str, npt.NDArray[Any]]) -> int:
        """Return how many values `encode`'s arrays stand for."""

    def decode(
        self, name: str, parts: Mapping[str, npt.NDArray[Any]], start: int, stop: int
    ) -> npt.NDArray[np.float32]:
        """Return the flat float32 values ``start:stop`` that `encode`'s arrays stand for.

        The arrays are flat views of a mapped file: touch only what the slice needs. `start` is a
        multiple of 2**16. Raises `ValueError` for arrays that do not hold the slice.
        """


@runtime_checkable
class Benchmark(Protocol):
    """A benchmark: its items, how they are asked, and what a response says.

    Runs in the orchestrator. Samplers generate the responses and grade them; they get the items
    and the name of the reward, and have no part of the benchmark itself.
    """

    settings: BenchmarkSettings
    """How often and how each item is asked, and what is computed of the responses."""

    grader: str
    """The reward component that grades: it gives at least 1 to a correct response, e.g. "math"."""

    def items(self) -> Sequence[Problem]:
        """Return the items. Called once, when the run is made: what they are made of may be gone
        later. Raises `RaloError` that says what to do where a data set cannot be had."""

    def prediction(self, problem: Problem, text: str) -> str:
        """Return what a response says, for maj@k and to be shown; "" where it says nothing."""

    def reference(self, problem: Problem) -> str:
        """Return the reference answer in the form of `prediction`: what `exact_match` and
        `multiple_choice` compare with."""


@runtime_checkable
class Tracker(Protocol):
    """A sink for metrics, in the learner's process, on a thread of its own.

    It is built where the run is prepared, too, so a constructor checks and opens nothing; the first
    `log` may. What `log` raises is no fault of the run: the same record comes again later, and
    those behind it wait. After a crash the last records may come a second time.
    """

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record `metrics` of optimizer step `step`; an evaluation comes later than its step."""

    def close(self) -> None:
        """Flush and release."""


@runtime_checkable
class SettlingTracker(Tracker, Protocol):
    """A tracker whose records are safe only some time after `log`, or after `close`."""

    settle_seconds: float
    """How long a record may be lost with the process; so long it comes again after a crash."""

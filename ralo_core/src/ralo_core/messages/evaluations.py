"""Evaluations: shards that samplers lease and report, requests on demand, results."""

from collections.abc import Mapping, Sequence

import attrs

from ralo_core.data import ItemResponses, Problem, ResponseSettings
from ralo_core.data.problem import Message
from ralo_core.identifiers import identifier
from ralo_core.messages.bounds import identifiers


@attrs.frozen(kw_only=True)
class Claim:
    """Body of ``POST /eval/job/claim``: a shard of any version, or of one."""

    worker_id: str = attrs.field(validator=identifier)
    version: int | None = None


@attrs.frozen(kw_only=True)
class EvaluationShard:
    """Reply of ``POST /eval/job/claim``: items of `benchmark`, to be asked of exactly `version`,
    under a lease that the report must quote."""

    job_id: str
    lease_id: str
    version: int
    benchmark: str
    response_settings: ResponseSettings
    problems: tuple[Problem, ...]


@attrs.frozen(kw_only=True)
class EvalReport:
    """Body of ``POST /eval/job/report``: the responses to each item of the shard, in order."""

    job_id: str = attrs.field(validator=identifier)
    lease_id: str = attrs.field(validator=identifier)
    responses: tuple[ItemResponses, ...]


@attrs.frozen(kw_only=True)
class EvalRequest:
    """Body of ``POST /eval/request``: benchmarks to be asked of a version, null for the newest."""

    benchmarks: tuple[str, ...] = attrs.field(validator=identifiers)
    version: int | None = None


@attrs.frozen(kw_only=True)
class RequestedEvaluation:
    """What becomes of one benchmark that was asked for; `state` is ``open`` or ``reported``."""

    version: int
    benchmark: str
    state: str


@attrs.frozen(kw_only=True)
class RequestedEvaluations:
    """Reply of ``POST /eval/request``."""

    evaluations: tuple[RequestedEvaluation, ...]


@attrs.frozen(kw_only=True)
class Estimate:
    """A metric with its 95 % interval."""

    value: float
    low: float
    high: float


@attrs.frozen(kw_only=True)
class Evaluation:
    """The result of one benchmark at one version.

    `step` is the version's; `time` is unix seconds at which the last responses came, `seconds` the
    time since the first shard was leased; `tokens` are those of all responses. `abandoned`: a
    rollback has left the version behind.
    """

    version: int
    step: int
    benchmark: str
    items: int
    samples: int
    time: float
    seconds: float
    tokens: int
    metrics: Mapping[str, Estimate]
    abandoned: bool


@attrs.frozen(kw_only=True)
class Evaluations:
    """Reply of ``GET /eval/results``."""

    evaluations: tuple[Evaluation, ...]


@attrs.frozen(kw_only=True)
class EvaluationRow:
    """One item of a result with the responses to it; `answer` is the reference answer."""

    problem_id: str
    prompt: str | Sequence[Message]
    answer: str
    predictions: tuple[str, ...]
    correct: tuple[bool, ...]
    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    finish_reasons: tuple[str, ...]
    reason: str


@attrs.frozen(kw_only=True)
class EvaluationRows:
    """Reply of ``GET /eval/rows``."""

    rows: tuple[EvaluationRow, ...]

"""The JSON bodies that workers send, as attrs classes; `docs/openapi.yaml` says the same.

Neighbours: resources structure into these with `bodies.read_json`.
"""

import attrs
from attrs.validators import deep_iterable, deep_mapping, instance_of

from ralo_core.data import EngineReport, ItemResponses, WeightsReport
from ralo_core.identifiers import identifier
from ralo_core.options.checks import at_least, between, one_of
from ralo_server.store.compute import REPORTED_ROLES

_MOST = 2**53
"""More than there are of anything: JSON can say infinity, and a sum would not get rid of it."""


@attrs.frozen(kw_only=True)
class Plugin:
    """A plugin that a worker has."""

    name: str
    distribution: str
    version: str


@attrs.frozen(kw_only=True)
class Register:
    """``POST /worker/register``."""

    worker_id: str = attrs.field(validator=identifier)
    role: str = attrs.field(validator=one_of("sampler", "trainer"))
    plugins: list[Plugin]
    host: str = ""
    pid: int = 0


@attrs.frozen(kw_only=True)
class Heartbeat:
    """``POST /worker/heartbeat``: the leases held, and totals since the worker started; `engine` is
    a sampler's, `phases` the seconds of a trainer's, `weights` is there once a worker has some."""

    worker_id: str = attrs.field(validator=identifier)
    lease_ids: list[str] = attrs.field(factory=list, validator=deep_iterable(identifier))
    version: int
    working_seconds: float
    waiting_seconds: float
    tokens: int = attrs.field(validator=at_least(0))
    engine: EngineReport | None = None
    weights: WeightsReport | None = None
    phases: dict[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Spent:
    """What a role has cost since the worker's start: device-seconds, and tokens."""

    working_seconds: float = attrs.field(validator=between(0, _MOST))
    waiting_seconds: float = attrs.field(validator=between(0, _MOST))
    tokens: int = attrs.field(validator=between(0, _MOST))


@attrs.frozen(kw_only=True)
class ComputeReport:
    """``POST /compute/report``: totals of `session`, which is one start of a worker that has
    `devices`, when it was `age_seconds` old. Of two reports the one of greater age stands."""

    worker_id: str = attrs.field(validator=identifier)
    session: str = attrs.field(validator=identifier)
    age_seconds: float = attrs.field(validator=between(0, _MOST))
    devices: int = attrs.field(validator=between(1, _MOST))
    roles: dict[str, Spent] = attrs.field(
        validator=deep_mapping(one_of(*REPORTED_ROLES), instance_of(Spent))
    )


@attrs.frozen(kw_only=True)
class Renew:
    """``POST /lease/renew``."""

    lease_ids: list[str] = attrs.field(validator=deep_iterable(identifier))


@attrs.frozen(kw_only=True)
class Release:
    """``POST /lease/release``."""

    lease_ids: list[str] = attrs.field(validator=deep_iterable(identifier))
    outcome: str = attrs.field(validator=one_of("returned", "failed", "empty"))
    reason: str = ""


@attrs.frozen(kw_only=True)
class Finalize:
    """``POST /gradient/upload_finalize``."""

    upload_id: str = attrs.field(validator=identifier)


@attrs.frozen(kw_only=True)
class Claim:
    """``POST /eval/job/claim``: of any version, or of one."""

    worker_id: str = attrs.field(validator=identifier)
    version: int | None = None


@attrs.frozen(kw_only=True)
class EvalReport:
    """``POST /eval/job/report``: the answers to each item of the job, in order."""

    job_id: str = attrs.field(validator=identifier)
    lease_id: str = attrs.field(validator=identifier)
    answers: list[ItemResponses]


@attrs.frozen(kw_only=True)
class EvalRequest:
    """``POST /eval/request``: benchmarks to be asked of a version, null for the newest."""

    benchmarks: list[str] = attrs.field(validator=deep_iterable(identifier))
    version: int | None = None

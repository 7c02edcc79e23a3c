"""Workers: how they register, report with every heartbeat, and leave."""

from collections.abc import Mapping

import attrs

from ralo_core.data import EngineReport, WeightsReport
from ralo_core.identifiers import identifier
from ralo_core.messages.bounds import identifiers
from ralo_core.options.checks import at_least, one_of
from ralo_core.plugins import PluginHost


@attrs.frozen(kw_only=True)
class PluginVersion:
    """A plugin that a worker has, or must have."""

    name: str
    distribution: str
    version: str


def active_plugins(host: PluginHost) -> tuple[PluginVersion, ...]:
    """Return the active plugins of `host` as messages name them."""
    return tuple(
        PluginVersion(name=info.name, distribution=info.distribution, version=info.version)
        for info in host.active()
    )


@attrs.frozen(kw_only=True)
class Register:
    """Body of ``POST /worker/register``."""

    worker_id: str = attrs.field(validator=identifier)
    role: str = attrs.field(validator=one_of("sampler", "trainer"))
    plugins: tuple[PluginVersion, ...]
    host: str = ""
    pid: int = 0


@attrs.frozen(kw_only=True)
class Registered:
    """Reply of ``POST /worker/register``; `time` is the orchestrator's clock, unix seconds."""

    run: str
    version: int
    lease_seconds: float
    heartbeat_seconds: float
    time: float


@attrs.frozen(kw_only=True)
class WorkerReport:
    """How a worker is: the version it has, and totals since it started.

    `tokens` are decoded or trained; `engine` is a sampler's; `weights` is there once a worker has
    some; `phases` are the seconds of a trainer by what they were spent on.
    """

    version: int
    working_seconds: float
    waiting_seconds: float
    tokens: int = attrs.field(validator=at_least(0))
    engine: EngineReport | None = None
    weights: WeightsReport | None = None
    phases: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Heartbeat(WorkerReport):
    """Body of ``POST /worker/heartbeat``: the report, and the leases that the worker knows of,
    which are renewed."""

    worker_id: str = attrs.field(validator=identifier)
    lease_ids: tuple[str, ...] = attrs.field(default=(), validator=identifiers)


@attrs.frozen(kw_only=True)
class HeartbeatReply:
    """Reply of ``POST /worker/heartbeat``: the state of the run, the leases of the request that no
    longer hold, and the orchestrator's clock, unix seconds."""

    state: str
    over: tuple[str, ...]
    time: float


@attrs.frozen(kw_only=True)
class Left:
    """Reply of ``POST /worker/leave``: how many leases went back."""

    returned: int

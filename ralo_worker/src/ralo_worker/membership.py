"""A worker's place in the run: it joins, hears what the run is, and says regularly how it goes.

Neighbours: the sampler and trainer runtimes both begin with `join`. The heartbeat renews all
of the worker's leases, so work that takes long is not taken away.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from ralo_core.client import Client, Connection
from ralo_core.config import Config, WeightsSettings, from_data
from ralo_core.data import EngineReport, WeightsReport
from ralo_core.errors import RaloError, RunOver, ServerError
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_worker.server_clock import ServerClock
from ralo_worker.weights.local_version import LocalVersion

log = logging.getLogger(__name__)

_HEARTBEAT = {
    "version", "tokens", "working_seconds", "waiting_seconds", "engine", "weights", "phases",
}  # fmt: skip


@attrs.define
class Activity:
    """What a worker has done since it started; written by the runtime, read by the heartbeat.

    `tokens` are those handed in. `evaluating_seconds` and `evaluated_tokens` are what evaluations
    cost a sampler, and in none of the other numbers; `decoded_tokens` are those for rollouts,
    handed in or not. Seconds are those of one of the `devices` that work together.
    """

    version: int = -1
    tokens: int = 0
    working_seconds: float = 0.0
    waiting_seconds: float = 0.0
    engine: EngineReport | None = None
    weights: WeightsReport = attrs.field(factory=WeightsReport)
    phases: Mapping[str, float] = attrs.field(factory=dict)
    evaluating_seconds: float = 0.0
    decoded_tokens: int = 0
    evaluated_tokens: int = 0
    devices: int = 1
    started: float = attrs.field(factory=time.monotonic)
    working_since: float | None = None
    """Since when work has been under way that `working_seconds` does not have yet."""
    lock: threading.Lock = attrs.field(factory=threading.Lock, repr=False)
    """Held while work moves from the one to the other."""

    def working(self, now: float) -> float:
        """Return the seconds of work until `now`, also of that under way."""
        with self.lock:
            under_way = 0.0 if self.working_since is None else now - self.working_since
            return self.working_seconds + under_way

    def fetched(self, staged: LocalVersion) -> None:
        """Book what it cost to bring a version to this machine."""
        self.weights = attrs.evolve(
            self.weights,
            bytes=self.weights.bytes + staged.bytes,
            staging_seconds=self.weights.staging_seconds + staged.seconds,
        )

    def activated(self, staged: LocalVersion, pause: float) -> None:
        """Book that `staged` was swapped in while work stood still for `pause` seconds."""
        self.version = staged.version.number
        self.weights = attrs.evolve(
            self.weights,
            activations=self.weights.activations + 1,
            pause_seconds=self.weights.pause_seconds + pause,
            last_pause_seconds=pause,
        )


def compute_facts(role: str, activity: Activity, now: float) -> dict[str, Any]:
    """Return what ``POST /compute/report`` says at the moment `now` of a worker of `role`.

    Its whole time counts, in device-seconds: what was neither work nor evaluation was waiting,
    whatever for.
    """
    age = now - activity.started
    evaluating = min(age, activity.evaluating_seconds)
    working = min(age - evaluating, activity.working(now))
    tokens = activity.decoded_tokens if role == "sampler" else activity.tokens
    roles = {role: (working, age - evaluating - working, tokens)}
    if evaluating:
        roles["benchmark"] = (evaluating, 0.0, activity.evaluated_tokens)
    return {
        "age_seconds": age,
        "devices": activity.devices,
        "roles": {
            name: {
                "working_seconds": worked * activity.devices,
                "waiting_seconds": waited * activity.devices,
                "tokens": tokens,
            }
            for name, (worked, waited, tokens) in roles.items()
        },
    }


class Timer:
    """Splits a sampler's time into evaluating, working and waiting."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._since = time.monotonic()

    def spent(self, working: float, evaluating: float = 0.0) -> None:
        """Book the time since the last call: the share `evaluating` (0 to 1) of it as evaluation,
        and of the rest the share `working` as work."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        self._activity.evaluating_seconds += seconds * evaluating
        seconds *= 1.0 - evaluating
        self._activity.working_seconds += seconds * working
        self._activity.waiting_seconds += seconds * (1.0 - working)


@attrs.frozen(kw_only=True)
class Membership:
    """A joined worker: its client, the run's name and config, the relays it fetches weights from
    before it asks the orchestrator, the orchestrator's clock, and its activity."""

    client: Client
    run: str
    config: Config
    role: str
    stopping: threading.Event
    heartbeat_seconds: float
    plugins: Sequence[dict[str, str]]
    clock: ServerClock
    relays: Sequence[str] = ()
    activity: Activity = attrs.field(factory=Activity)
    session: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    """This start of the worker: one that is started again counts anew."""

    def start_heartbeat(self) -> None:
        """Report every few seconds until `stopping`."""
        threading.Thread(target=self._beat, name="ralo-heartbeat", daemon=True).start()

    def _beat(self) -> None:
        while not self.stopping.wait(self.heartbeat_seconds):
            try:
                sent = time.time()
                answer = self.client.heartbeat(**_told(self.activity))
                self.clock.heard(sent, answer["time"], time.time())
                self._report_compute()
            except ServerError as error:
                if error.status != 404:
                    log.warning("the heartbeat was refused: %s", error)
                    continue
                log.info("the server does not know this worker any more; registering again")
                _register(self.client, self.role, self.plugins)
            except (ConnectionError, RunOver):
                return  # stopping, or the run is over: the runtime finds out by itself

    def leave(self) -> int:
        """Say what was spent, then goodbye; return how many leases went back."""
        self._report_compute()
        return self.client.leave()

    def _report_compute(self) -> None:
        facts = compute_facts(self.role, self.activity, time.monotonic())
        self.client.report_compute(session=self.session, **facts)


def join(
    connection: Connection, role: str, sections: Iterable[str], stopping: threading.Event
) -> Membership:
    """Register at the orchestrator and return the membership; the relays of `connection` come
    before those of the run.

    Waits for a server that is not up yet. Raises `RaloError` with the pip command if this
    worker lacks a plugin of the run or has another version of it.
    """
    worker_id = f"{role}-{socket.gethostname()}-{os.getpid()}"
    client = connection.client(role, worker_id, stopping=stopping)
    member = _membership(client, role, sections, stopping, connection.relays)
    sent = time.time()
    answer = _register(client, role, member.plugins)
    member.clock.heard(sent, answer["time"], time.time())
    log.info("joined run %s at %s as %s", member.run, client.transport.url, worker_id)
    return attrs.evolve(member, heartbeat_seconds=answer["heartbeat_seconds"])


def accompany(
    leader: str,
    connection: Connection,
    role: str,
    sections: Iterable[str],
    stopping: threading.Event,
) -> Membership:
    """Return the membership of a process that works in the name of the worker `leader`, which has
    joined and says how it goes; else as `join`."""
    client = connection.client(role, leader, stopping=stopping)
    return _membership(client, role, sections, stopping, connection.relays)


def _membership(
    client: Client,
    role: str,
    sections: Iterable[str],
    stopping: threading.Event,
    relays: Sequence[str],
) -> Membership:
    """Return what a worker is in the run that `client` leads to."""
    document = client.config()
    data = document["config"]
    host = PluginHost(disabled=data["plugins"]["disable"]).load()
    plugins = [
        {"name": info.name, "distribution": info.distribution, "version": info.version}
        for info in host.active()
    ]
    config = from_data(data, Registry(host), sections)
    return Membership(
        client=client,
        run=document["run"],
        config=config,
        role=role,
        stopping=stopping,
        heartbeat_seconds=0.0,
        plugins=plugins,
        relays=(*relays, *config.section(WeightsSettings).sources),
        clock=ServerClock(),
    )


def _told(activity: Activity) -> dict[str, Any]:
    """Return what a heartbeat says of `activity`."""
    return {name: value for name, value in attrs.asdict(activity).items() if name in _HEARTBEAT}


def _register(client: Client, role: str, plugins: Sequence[dict[str, str]]) -> dict[str, Any]:
    try:
        return client.register(role, plugins, host=socket.gethostname(), pid=os.getpid())
    except ServerError as error:
        if error.status == 409:
            raise RaloError(str(error)) from error
        raise

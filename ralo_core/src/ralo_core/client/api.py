"""`Client`: one method per endpoint that a worker or the command line uses.

Every mutating call carries an idempotency key, so that a retry after a lost reply has the effect of
one call. Methods that ask for work return None when there is nothing to do now, and raise `RunOver`
at the end. Requests and replies are the classes of `ralo_core.messages`; a reply that is not as its
class says raises `WireError`.
"""

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import requests

from ralo_core import wire
from ralo_core.client.address import Address, FixedAddress
from ralo_core.client.calls_in_flight import CallsInFlight
from ralo_core.client.gradients import GradientBody, GradientSender
from ralo_core.client.transport import Backoff, Transport
from ralo_core.data import Batch, DeltaLink, ItemResponses, RolloutTree, WeightVersion
from ralo_core.errors import ServerError
from ralo_core.messages.accepted import Accepted
from ralo_core.messages.compute import ComputeReport
from ralo_core.messages.evaluations import (
    Claim,
    EvalReport,
    EvalRequest,
    Evaluation,
    Evaluations,
    EvaluationShard,
    RequestedEvaluation,
    RequestedEvaluations,
)
from ralo_core.messages.gradients import GradientAccepted
from ralo_core.messages.leases import Release
from ralo_core.messages.problems import LeasedProblem, LeasedProblems
from ralo_core.messages.run import Health, State, WorkerConfig
from ralo_core.messages.stats import Stats
from ralo_core.messages.weights import Deltas
from ralo_core.messages.workers import (
    Heartbeat,
    HeartbeatReply,
    Left,
    PluginVersion,
    Register,
    Registered,
    WorkerReport,
)
from ralo_core.structuring import structure_reply, unstructure

T = TypeVar("T")

_CHUNK_BYTES = 16 << 20  # small enough that the server's disk is busy from the beginning


class Client:
    """A worker's view of the orchestrator at `server`, a URL or an `Address`. Thread-safe.

    `chunk_bytes` is the chunk size that gradient uploads begin with; the server may lower or
    raise it.
    """

    def __init__(
        self,
        server: str | Address,
        worker_id: str = "cli",
        *,
        token: str = "",
        ca: Path | None = None,
        backoff: Backoff | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        self.worker_id = worker_id
        self.chunk_bytes = _CHUNK_BYTES
        self._held: set[str] = set()
        self._held_lock = threading.Lock()
        self._asking = CallsInFlight()
        self.transport = Transport(
            FixedAddress(server, token) if isinstance(server, str) else server,
            headers={"X-Ralo-Worker": worker_id},
            ca=ca,
            backoff=backoff,
            stopping=stopping,
        )

    def health(self) -> Health:
        """Return run name, state and version; answered as soon as the server is up."""
        return self._get("/health", Health)

    def config(self) -> WorkerConfig:
        """Return the run's name, its resolved config and the plugins that a worker must have."""
        return self._get("/config", WorkerConfig)

    def stats(self, timeout: float = 60.0) -> Stats:
        """Return the whole state of the run; a reply may take `timeout` seconds."""
        reply = self.transport.request("GET", "/stats", timeout=timeout)
        return structure_reply(reply.json(), Stats)

    def register(
        self, role: str, plugins: Sequence[PluginVersion], *, host: str = "", pid: int = 0
    ) -> Registered:
        """Register this worker and its plugins; a plugin mismatch raises `ServerError` 409."""
        body = Register(
            worker_id=self.worker_id, role=role, plugins=tuple(plugins), host=host, pid=pid
        )
        return self._post("/worker/register", body, Registered)

    def heartbeat(self, report: WorkerReport) -> HeartbeatReply:
        """Report how the worker is and renew the leases that this client was given; returns the
        run's state and which of the leases are over."""
        with self._held_lock:
            held = tuple(sorted(self._held))
        fields = attrs.asdict(report, recurse=False)
        body = Heartbeat(worker_id=self.worker_id, lease_ids=held, **fields)
        reply = self._post("/worker/heartbeat", body, HeartbeatReply)
        with self._held_lock:
            self._held.difference_update(reply.over)
        return reply

    def report_compute(self, report: ComputeReport) -> None:
        """Report what this worker has spent since it started."""
        self._post("/compute/report", report, Accepted)

    def leave(self) -> int:
        """Deregister this worker; what it holds goes back at once. Returns how many leases.

        Waits for requests for work that are in flight, so that what they bring goes back, too.
        """
        self._asking.wait_until_none()
        return structure_reply(self._send_json("/worker/leave", {}), Left).returned

    def problems(self, count: int, wait: float = 5.0) -> list[LeasedProblem] | None:
        """Lease up to `count` problems, waiting up to `wait` seconds for the first."""
        params = {"count": count, "wait": wait}
        reply = self._work("/problem/get", params, wait, _new_key())
        if reply is None:
            return None
        leased = structure_reply(reply.json(), LeasedProblems).problems
        self._hold(item.lease_id for item in leased)
        return list(leased)

    def upload_tree(self, tree: RolloutTree) -> Accepted:
        """Hand in the tree of a leased problem; waits while the queue is full."""
        body, headers = wire.pack_tree(tree), {"Idempotency-Key": tree.lease_id}
        with self._giving_up(tree.lease_id):
            reply = self.transport.request(
                "POST",
                "/upload",
                data=body,
                headers={"Content-Type": wire.CONTENT_TYPE, **headers},
                timeout=300.0,
            )
        return structure_reply(reply.json(), Accepted)

    def batch(self, wait: float = 5.0) -> Batch | None:
        """Lease the next batch."""
        reply = self._work("/get", {"wait": wait}, wait, _new_key())
        if reply is None:
            return None
        batch = wire.unpack_batch(reply.content)
        self._hold([batch.id])
        return batch

    def release(self, lease_ids: Iterable[str], outcome: str, reason: str = "") -> None:
        """Give leases up: ``returned`` (unfinished), ``failed`` (with the reason: a problem or a
        batch that is not tried again) or ``empty`` (a batch that has no gradient)."""
        body = Release(lease_ids=tuple(lease_ids), outcome=outcome, reason=reason)
        self._send_json("/lease/release", unstructure(body))

    def send_gradient(
        self,
        body: GradientBody,
        *,
        upload_id: str,
        batch_id: str,
        base_version: int,
        weight: float,
        codec: str,
        metrics: Mapping[str, float],
    ) -> GradientAccepted:
        """Send the gradient that `body` holds, then commit it.

        Sent again with the same `upload_id`, only what the server lacks travels. Raises
        `ServerError`: 409 when the batch's lease is lost, 422 with the reason when the gradient is
        refused.
        """
        sender = GradientSender(
            transport=self.transport,
            body=body,
            fields={
                "upload_id": upload_id,
                "batch_id": batch_id,
                "worker_id": self.worker_id,
                "base_version": base_version,
                "weight": weight,
                "codec": codec,
                "metrics": dict(metrics),
            },
        )
        with self._giving_up(batch_id):
            reply, self.chunk_bytes = sender.send(self.chunk_bytes)
        return structure_reply(reply, GradientAccepted)

    def version(self, after: int = -1, wait: float = 0.0) -> WeightVersion | None:
        """Return the newest version if it is newer than `after`, waiting up to `wait` seconds."""
        reply = self._work("/weights/version", {"after": after, "wait": wait}, wait)
        return None if reply is None else structure_reply(reply.json(), WeightVersion)

    def manifest(self, version: int) -> WeightVersion:
        """Return the files of one version."""
        return self._get("/weights/manifest", WeightVersion, {"version": version})

    def deltas(self, start: int, end: int) -> Sequence[DeltaLink]:
        """Return the deltas that lead from version `start` to version `end`, in the order in which
        they are applied; none if there are none that are smaller than the version."""
        try:
            return self._get("/weights/delta", Deltas, {"from": start, "to": end}).links
        except ServerError as error:
            if error.status != 404:
                raise
            return ()

    def eval_job(self, version: int | None = None) -> EvaluationShard | None:
        """Lease an evaluation shard, of `version` where it is given."""
        body = Claim(worker_id=self.worker_id, version=version)
        with self._asking:
            reply = self.transport.request(
                "POST", "/eval/job/claim", json=unstructure(body), headers=_new_key()
            )
        if reply.status_code == 204:
            return None
        shard = structure_reply(reply.json(), EvaluationShard)
        self._hold([shard.lease_id])
        return shard

    def report_eval(self, shard: EvaluationShard, responses: Sequence[ItemResponses]) -> None:
        """Hand in the responses to each item of a shard, in order."""
        body = EvalReport(job_id=shard.job_id, lease_id=shard.lease_id, responses=tuple(responses))
        with self._giving_up(shard.lease_id):
            self._post("/eval/job/report", body, Accepted)

    def request_evaluation(
        self, benchmarks: Sequence[str], version: int | None = None
    ) -> Sequence[RequestedEvaluation]:
        """Ask benchmarks of a version, of the newest one where none is named; returns what becomes
        of each. Asked again, it changes nothing."""
        body = EvalRequest(benchmarks=tuple(benchmarks), version=version)
        return self._post("/eval/request", body, RequestedEvaluations).evaluations

    def eval_results(
        self, benchmark: str | None = None, version: int | None = None
    ) -> Sequence[Evaluation]:
        """Return the results that there are, of one benchmark or version where they are given."""
        chosen = {"benchmark": benchmark, "version": version}
        params = {name: value for name, value in chosen.items() if value is not None}
        return self._get("/eval/results", Evaluations, params).evaluations

    def stop(self) -> str:
        """Ask the run to drain and finish; returns the state that it is in now."""
        return structure_reply(self._send_json("/stop", {}), State).state

    def _hold(self, lease_ids: Iterable[str]) -> None:
        """Record leases; those that are over go when the server says so."""
        with self._held_lock:
            self._held.update(lease_ids)

    @contextmanager
    def _giving_up(self, lease_id: str) -> Iterator[None]:
        """No longer hold a lease whose work was refused: renewed, it would never end."""
        try:
            yield
        except ServerError:
            with self._held_lock:
                self._held.discard(lease_id)
            raise

    def _get(self, path: str, kind: type[T], params: Mapping[str, Any] | None = None) -> T:
        return structure_reply(self.transport.request("GET", path, params=params).json(), kind)

    def _post(self, path: str, body: object, kind: type[T]) -> T:
        return structure_reply(self._send_json(path, unstructure(body)), kind)

    def _send_json(self, path: str, body: Any) -> Any:
        return self.transport.request("POST", path, json=body).json()

    def _work(
        self,
        path: str,
        params: Mapping[str, Any],
        wait: float,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response | None:
        with self._asking:
            reply = self.transport.request(
                "GET", path, params=params, headers=headers, timeout=wait + 30.0
            )
        if reply.status_code != 204:
            return reply
        # A server without a place to wait in says when to come again.
        self.transport.pause(min(wait, float(reply.headers.get("Retry-After", 0.0))))
        return None


def _new_key() -> dict[str, str]:
    """Return a key for one request for work: if its reply is lost, the retry gets the same."""
    return {"Idempotency-Key": uuid.uuid4().hex}

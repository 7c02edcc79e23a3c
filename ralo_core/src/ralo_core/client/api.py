"""`Client`: one method per endpoint a worker or the command line uses.

Neighbours: `client.transport` does the HTTP, `wire` the bodies. Every mutating call carries an
idempotency key, so that a retry after a lost answer has the effect of one call. Methods that
ask for work return None when there is nothing to do now, and raise `RunOver` at the end.
"""

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from ralo_core import wire
from ralo_core.client.address import Address, FixedAddress
from ralo_core.client.calls_in_flight import CallsInFlight
from ralo_core.client.gradients import GradientBody, GradientSender
from ralo_core.client.transport import Backoff, Transport
from ralo_core.data import (
    Batch,
    DeltaLink,
    ItemResponses,
    Problem,
    ResponseSettings,
    RolloutTree,
    WeightVersion,
)
from ralo_core.errors import ServerError
from ralo_core.structuring import structure, unstructure

_CHUNK_BYTES = 16 << 20  # small enough that the server's disk is busy from the beginning


@attrs.frozen
class LeasedProblem:
    """A problem with the lease that its tree must quote; `expires` is unix time in seconds."""

    problem: Problem
    lease_id: str
    expires: float


@attrs.frozen(kw_only=True)
class EvaluationShard:
    """Items of `benchmark` to be answered with the weights of exactly `version`, under a lease that
    the report must quote."""

    id: str
    lease_id: str
    version: int
    benchmark: str
    answering: ResponseSettings
    problems: tuple[Problem, ...]


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

    def health(self) -> dict[str, Any]:
        """Return run name, state and version; answers as soon as the server is up."""
        return self._get("/health")

    def config(self) -> dict[str, Any]:
        """Return ``{"run": name, "config": resolved config, "plugins": [...]}``."""
        return self._get("/config")

    def stats(self) -> dict[str, Any]:
        """Return the whole state of the run as `docs/openapi.yaml` describes it."""
        return self._get("/stats")

    def register(
        self, role: str, plugins: Sequence[Mapping[str, str]], **facts: Any
    ) -> dict[str, Any]:
        """Announce this worker and its plugins; a plugin mismatch raises `ServerError` 409."""
        body = {"worker_id": self.worker_id, "role": role, "plugins": list(plugins), **facts}
        return self._post("/worker/register", body)

    def heartbeat(self, **facts: Any) -> dict[str, Any]:
        """Report state and renew the leases that this client was given; returns the run's state
        and which of the leases are over."""
        with self._held_lock:
            held = sorted(self._held)
        body = {"worker_id": self.worker_id, "lease_ids": held, **facts}
        answer = self._post("/worker/heartbeat", body)
        with self._held_lock:
            self._held.difference_update(answer["over"])
        return answer

    def report_compute(self, **facts: Any) -> None:
        """Say what this worker has spent since it started, as `docs/openapi.yaml` describes it."""
        self._post("/compute/report", {"worker_id": self.worker_id, **facts})

    def leave(self) -> int:
        """Say that this worker ends; what it holds goes back at once. Returns how many leases.

        Waits for requests for work that are under way, so that what they bring goes back, too.
        """
        self._asking.wait_until_none()
        return int(self._post("/worker/leave", {})["returned"])

    def problems(self, count: int, wait: float = 5.0) -> list[LeasedProblem] | None:
        """Lease up to `count` problems, waiting up to `wait` seconds for the first."""
        params = {"count": count, "wait": wait}
        answer = self._work("/problem/get", params, wait, _new_key())
        if answer is None:
            return None
        leased = [
            LeasedProblem(
                wire.problem_from_json(item["problem"]), item["lease_id"], item["expires"]
            )
            for item in answer.json()["problems"]
        ]
        self._hold(item.lease_id for item in leased)
        return leased

    def upload_tree(self, tree: RolloutTree) -> dict[str, Any]:
        """Hand in the tree of a leased problem; waits while the queue is full."""
        body, headers = wire.pack_tree(tree), {"Idempotency-Key": tree.lease_id}
        with self._giving_up(tree.lease_id):
            return self._send("/upload", body, headers)

    def batch(self, wait: float = 5.0) -> Batch | None:
        """Lease the next batch."""
        answer = self._work("/get", {"wait": wait}, wait, _new_key())
        if answer is None:
            return None
        batch = wire.unpack_batch(answer.content)
        self._hold([batch.id])
        return batch

    def release(self, lease_ids: Iterable[str], outcome: str, reason: str = "") -> None:
        """Give leases up: ``returned`` (unfinished), ``failed`` (with the reason: a problem or a
        batch that is not tried again) or ``empty`` (a batch that has no gradient)."""
        body = {"lease_ids": list(lease_ids), "outcome": outcome, "reason": reason}
        self._post("/lease/release", body)

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
    ) -> dict[str, Any]:
        """Send the gradient that `body` holds, then commit it; returns the server's word on it.

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
            answer, self.chunk_bytes = sender.send(self.chunk_bytes)
        return answer

    def version(self, after: int = -1, wait: float = 0.0) -> WeightVersion | None:
        """Return the newest version if it is newer than `after`, waiting up to `wait` seconds."""
        answer = self._work("/weights/version", {"after": after, "wait": wait}, wait)
        return None if answer is None else structure(answer.json(), WeightVersion)

    def manifest(self, version: int) -> WeightVersion:
        """Return the files of one version."""
        document = self._get("/weights/manifest", {"version": version})
        document.pop("tensors", None)  # they are for those who read single tensors
        return structure(document, WeightVersion)

    def deltas(self, start: int, end: int) -> Sequence[DeltaLink]:
        """Return the deltas that lead from version `start` to version `end`, in the order in which
        they are applied; none if there are none that are smaller than the version."""
        try:
            answer = self._get("/weights/delta", {"from": start, "to": end})
        except ServerError as error:
            if error.status != 404:
                raise
            return ()
        return structure(answer["links"], tuple[DeltaLink, ...])

    def eval_job(self, version: int | None = None) -> EvaluationShard | None:
        """Lease an evaluation job, of `version` where it is given."""
        body = {"worker_id": self.worker_id, "version": version}
        with self._asking:
            answer = self.transport.request(
                "POST", "/eval/job/claim", json=body, headers=_new_key()
            )
        if answer.status_code == 204:
            return None
        job = answer.json()
        self._hold([job["lease_id"]])
        return EvaluationShard(
            id=job["job_id"],
            lease_id=job["lease_id"],
            version=job["version"],
            benchmark=job["benchmark"],
            answering=structure(job["answering"], ResponseSettings),
            problems=tuple(wire.problem_from_json(item) for item in job["problems"]),
        )

    def report_eval(self, job: EvaluationShard, answers: Sequence[ItemResponses]) -> None:
        """Hand in the answers to each item of a job, in order."""
        body = {
            "job_id": job.id,
            "lease_id": job.lease_id,
            "answers": [unstructure(item) for item in answers],
        }
        with self._giving_up(job.lease_id):
            self._post("/eval/job/report", body)

    def request_evaluation(
        self, benchmarks: Sequence[str], version: int | None = None
    ) -> list[dict[str, Any]]:
        """Ask benchmarks of a version, of the newest one where none is named; returns what becomes
        of each as ``{"version", "benchmark", "state"}``. Asked again, it changes nothing."""
        body = {"benchmarks": list(benchmarks), "version": version}
        asked: list[dict[str, Any]] = self._post("/eval/request", body)["evaluations"]
        return asked

    def eval_results(
        self, benchmark: str | None = None, version: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the results that there are, as `docs/openapi.yaml` describes them."""
        chosen = {"benchmark": benchmark, "version": version}
        params = {name: value for name, value in chosen.items() if value is not None}
        results: list[dict[str, Any]] = self._get("/eval/results", params)["evaluations"]
        return results

    def stop(self) -> dict[str, Any]:
        """Ask the run to drain and finish."""
        return self._post("/stop", {})

    def _hold(self, lease_ids: Iterable[str]) -> None:
        """Take note of leases; those that are over go when the server says so."""
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

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self.transport.request("GET", path, params=params).json()
        return answer

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.transport.request("POST", path, json=body).json()
        return answer

    def _send(self, path: str, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        answer: dict[str, Any] = self.transport.request(
            "POST",
            path,
            data=body,
            headers={"Content-Type": wire.CONTENT_TYPE, **headers},
            timeout=300.0,
        ).json()
        return answer

    def _work(
        self,
        path: str,
        params: Mapping[str, Any],
        wait: float,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        with self._asking:
            answer = self.transport.request(
                "GET", path, params=params, headers=headers, timeout=wait + 30.0
            )
        if answer.status_code != 204:
            return answer
        # A server without a place to wait in says when to come again.
        self.transport.pause(min(wait, float(answer.headers.get("Retry-After", 0.0))))
        return None


def _new_key() -> dict[str, str]:
    """Return a key for one request for work: if its answer is lost, the retry gets the same."""
    return {"Idempotency-Key": uuid.uuid4().hex}

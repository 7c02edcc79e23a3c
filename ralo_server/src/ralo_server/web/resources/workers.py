"""Workers: registration with a check of their plugins, heartbeats that renew leases, leaving."""

import attrs
import falcon

from ralo_core.access import ADMIN
from ralo_core.messages.workers import (
    Heartbeat,
    HeartbeatReply,
    Left,
    Register,
    Registered,
    WorkerReport,
)
from ralo_core.structuring import unstructure
from ralo_server.needed_plugins import complaint
from ralo_server.web.requests.bodies import read_json, worker_of
from ralo_server.web.responses.problem_documents import run_over
from ralo_server.web.services import Services

_HEARTBEATS_PER_LEASE = 12
_REPORTED = frozenset(field.name for field in attrs.fields(WorkerReport))


@attrs.frozen
class WorkerRegister:
    """``POST /worker/register``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Register a worker, or refuse it with the pip command that mends it."""
        if self.services.finished:
            raise run_over()
        body = read_json(request, Register)
        role = getattr(request.context, "role", ADMIN)
        if role not in (ADMIN, body.role):
            raise falcon.HTTPForbidden(
                title="forbidden", description=f"this is the token of a {role}, not a {body.role}"
            )
        offered = [attrs.asdict(plugin) for plugin in body.plugins]
        lacks = complaint(self.services.settings["plugins"][body.role], offered)
        if lacks:
            raise falcon.HTTPConflict(title="plugins do not match", description=lacks)
        store = self.services.store
        known = {
            "host": body.host,
            "pid": body.pid,
            "version": store.versions.newest_number(),
            "tokens": 0,
            "working_seconds": 0.0,
            "waiting_seconds": 0.0,
        }
        if store.workers.register(body.worker_id, body.role, known):
            self.services.notify("ralo_worker_joined", worker_id=body.worker_id, role=body.role)
        lease_seconds = self.services.server.lease_seconds
        reply = Registered(
            run=store.run.name(),
            version=store.versions.newest_number(),
            lease_seconds=lease_seconds,
            heartbeat_seconds=min(2.0, lease_seconds / _HEARTBEATS_PER_LEASE),
            time=store.terms.clock(),
        )
        response.media = unstructure(reply)


@attrs.frozen
class WorkerHeartbeat:
    """``POST /worker/heartbeat``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Record a worker's state and renew the leases it holds; say which are over."""
        body = read_json(request, Heartbeat)
        report = {name: unstructure(getattr(body, name)) for name in _REPORTED}
        store = self.services.store
        over = store.workers.heard(body.worker_id, report, body.lease_ids)
        if over is None:
            raise falcon.HTTPNotFound(
                title="unknown worker", description=f"{body.worker_id} must register first"
            )
        reply = HeartbeatReply(
            state=store.run.current(), over=tuple(over), time=store.terms.clock()
        )
        response.media = unstructure(reply)


@attrs.frozen
class WorkerLeave:
    """``POST /worker/leave``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Deregister a worker; what it still holds goes back at once. Again, no effect."""
        worker_id = worker_of(request)
        returned, role = self.services.store.workers.leave(worker_id)
        if role is not None:
            self.services.notify("ralo_worker_left", worker_id=worker_id, role=role)
        response.media = unstructure(Left(returned=returned))

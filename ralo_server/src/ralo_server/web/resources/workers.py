"""Workers: registration with a check of their plugins, heartbeats that renew leases, leaving."""

import attrs
import falcon

from ralo_core.access import ADMIN
from ralo_server.needed_plugins import complaint
from ralo_server.web.requests.bodies import read_json, worker_of
from ralo_server.web.requests.messages import Heartbeat, Register
from ralo_server.web.responses.problem_documents import run_over
from ralo_server.web.services import Services

_HEARTBEATS_PER_LEASE = 12
_NO_FACTS = ("worker_id", "lease_ids")


@attrs.frozen
class WorkerRegister:
    """``POST /worker/register``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Welcome a worker, or refuse it with the pip command that mends it."""
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
        facts = {
            "host": body.host,
            "pid": body.pid,
            "version": store.versions.newest_number(),
            "tokens": 0,
            "working_seconds": 0.0,
            "waiting_seconds": 0.0,
        }
        if store.workers.register(body.worker_id, body.role, facts):
            self.services.notify("ralo_worker_joined", worker_id=body.worker_id, role=body.role)
        lease_seconds = self.services.server.lease_seconds
        response.media = {
            "run": store.run.name(),
            "version": store.versions.newest_number(),
            "lease_seconds": lease_seconds,
            "heartbeat_seconds": min(2.0, lease_seconds / _HEARTBEATS_PER_LEASE),
            "time": store.terms.clock(),
        }


@attrs.frozen
class WorkerHeartbeat:
    """``POST /worker/heartbeat``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Take note of a worker's state and renew the leases it holds; say which are over."""
        body = read_json(request, Heartbeat)
        facts = attrs.asdict(body, filter=lambda field, _: field.name not in _NO_FACTS)
        store = self.services.store
        over = store.workers.heard(body.worker_id, facts, body.lease_ids)
        if over is None:
            raise falcon.HTTPNotFound(
                title="unknown worker", description=f"{body.worker_id} must register first"
            )
        response.media = {"state": store.run.current(), "over": over, "time": store.terms.clock()}


@attrs.frozen
class WorkerLeave:
    """``POST /worker/leave``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Say goodbye to a worker; what it still holds goes back at once. Again, no effect."""
        worker_id = worker_of(request)
        returned, role = self.services.store.workers.leave(worker_id)
        if role is not None:
            self.services.notify("ralo_worker_left", worker_id=worker_id, role=role)
        response.media = {"returned": returned}

"""Compute telemetry: what workers say they have spent, and the totals of the run."""

import attrs
import falcon

from ralo_core.access import ADMIN
from ralo_core.messages.accepted import Accepted
from ralo_core.messages.compute import ComputeReport
from ralo_core.structuring import unstructure
from ralo_server.store.compute import EVALUATOR, SAMPLER, Session, Spent
from ralo_server.web.requests.bodies import read_json
from ralo_server.web.services import Services


@attrs.frozen
class ComputeReports:
    """``POST /compute/report``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Store the totals of a worker's session; also of a run that is over, for workers leave
        after it."""
        body = read_json(request, ComputeReport)
        _check_roles(getattr(request.context, "role", ADMIN), body)
        session = Session(
            id=body.session,
            worker_id=body.worker_id,
            age_seconds=body.age_seconds,
            devices=body.devices,
        )
        roles = {role: Spent(**attrs.asdict(spent)) for role, spent in body.roles.items()}
        self.services.store.compute.report(session, roles)
        response.media = unstructure(Accepted(accepted=True))


def _check_roles(caller: str, body: ComputeReport) -> None:
    """Raise 403 if a worker reports for a role that is not its own."""
    for role in body.roles:
        owner = SAMPLER if role == EVALUATOR else role
        if caller not in (ADMIN, owner):
            raise falcon.HTTPForbidden(
                title="forbidden", description=f"a {caller} cannot report what a {role} has spent"
            )


@attrs.frozen
class ComputeStats:
    """``GET /compute/stats``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give device-seconds and tokens by role, and what had been spent at each version."""
        response.media = unstructure(self.services.store.compute.statistics())

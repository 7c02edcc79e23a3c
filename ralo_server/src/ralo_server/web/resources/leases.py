"""Leases: renewed or given up by their ids, by the worker that holds them."""

import attrs
import falcon

from ralo_core.messages.leases import Release, Released, Renew, Renewed
from ralo_core.structuring import unstructure
from ralo_server.store.leases import NotTheOwner
from ralo_server.web.requests.bodies import read_json, worker_of
from ralo_server.web.responses.problem_documents import not_the_owner
from ralo_server.web.services import Services


@attrs.frozen
class LeaseRenew:
    """``POST /lease/renew``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Extend leases; say which are lost."""
        leases = self.services.store.leases
        try:
            renewed, lost = leases.renew(worker_of(request), read_json(request, Renew).lease_ids)
        except NotTheOwner as error:
            raise not_the_owner(error) from error
        response.media = unstructure(Renewed(renewed=tuple(renewed), lost=tuple(lost)))


@attrs.frozen
class LeaseRelease:
    """``POST /lease/release``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """End leases before their time."""
        body = read_json(request, Release)
        leases, worker = self.services.store.leases, worker_of(request)
        try:
            released = leases.release(worker, body.lease_ids, body.outcome, body.reason)
        except NotTheOwner as error:
            raise not_the_owner(error) from error
        response.media = unstructure(Released(released=released))

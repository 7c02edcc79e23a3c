"""Leases: renewed or given up by their ids."""

import attrs
import falcon

from ralo_server.web.bodies import read_json
from ralo_server.web.requests import Release, Renew
from ralo_server.web.services import Services


@attrs.frozen
class LeaseRenew:
    """``POST /lease/renew``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Extend leases; say which are lost."""
        renewed, lost = self.services.store.leases.renew(read_json(request, Renew).lease_ids)
        response.media = {"renewed": renewed, "lost": lost}


@attrs.frozen
class LeaseRelease:
    """``POST /lease/release``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """End leases before their time."""
        body = read_json(request, Release)
        leases = self.services.store.leases
        released = leases.release(body.lease_ids, body.outcome, body.reason)
        response.media = {"released": released}

"""Whose work it is: what quotes a lease must come from the worker that holds it."""

import falcon

from ralo_server.store.leases import NotTheOwner
from ralo_server.web.requests.bodies import worker_of
from ralo_server.web.responses.problem_documents import not_the_owner
from ralo_server.web.services import Services


def check_owner(services: Services, request: falcon.Request, lease_id: str) -> None:
    """Raise 403 if another worker than the one that asks holds the lease.

    A lease that has ended is nobody's: work under it is refused where it is stored.
    """
    try:
        services.store.leases.check_owner(worker_of(request), [lease_id])
    except NotTheOwner as error:
        raise not_the_owner(error) from error

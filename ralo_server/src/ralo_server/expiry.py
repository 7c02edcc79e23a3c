"""Ends what is overdue in a run and tells plugins of it, the same in web processes and the learner.

Whoever of them comes first does it; the others find it done. A learner that takes a long step
leaves it to the requests of workers, a run without workers leaves it to the learner.
"""

import logging

from ralo_core.plugins import PluginHost
from ralo_server.store import Store

log = logging.getLogger(__name__)


def end_overdue(store: Store, host: PluginHost) -> None:
    """Expire leases, uploads and workers of the run, at most once a second per process."""
    for worker in store.expiry.expire_if_due():
        log.warning("%s %s has not been heard for a lease's time", worker.role, worker.id)
        host.notify("ralo_worker_lost", worker_id=worker.id, role=worker.role)

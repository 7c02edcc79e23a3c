"""Rollout trees in, batches out."""

import attrs
import falcon

from ralo_core import wire
from ralo_core.messages.accepted import Accepted
from ralo_core.structuring import unstructure
from ralo_server.store.batches import StoredBatch
from ralo_server.store.trees import ABANDONED, DUPLICATE, LOST
from ralo_server.web.requests.bodies import (
    MIB,
    identifier_header,
    read_body,
    request_key,
    wait_of,
    worker_of,
)
from ralo_server.web.requests.ownership import check_owner
from ralo_server.web.responses.problem_documents import (
    abandoned,
    disk_full,
    invalid,
    lease_lost,
    run_over,
)
from ralo_server.web.services import Services


@attrs.frozen
class TreeUpload:
    """``POST /upload``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Store the tree of a leased problem; a second time is a success without effect."""
        lease_id = identifier_header(request, "Idempotency-Key")
        body = read_body(request, self.services.server.max_body_mb * MIB)
        if self.services.lacks_disk(len(body)):
            raise disk_full()
        check_owner(self.services, request, lease_id)
        tree = wire.unpack_tree(body)
        if tree.lease_id != lease_id:
            raise invalid(f"the tree's lease_id {tree.lease_id!r} is not the Idempotency-Key")
        newest = self.services.store.versions.newest_number()
        if int(tree.versions.min()) < 0 or int(tree.versions.max()) > newest:
            raise invalid(f"tensor 'versions' names a version outside 0..{newest}")
        outcome = self.services.store.trees.add(lease_id, tree, body)
        if outcome == LOST:
            raise lease_lost(f"problem {tree.problem_id} under lease {lease_id}")
        if outcome == ABANDONED:
            raise abandoned(f"problem {tree.problem_id} under lease {lease_id}")
        if outcome != DUPLICATE:
            self.services.notify(
                "ralo_samples_accepted",
                problem_id=tree.problem_id,
                rewards=tree.rewards.tolist(),
                version=int(tree.versions.min()),
            )
        response.media = unstructure(Accepted(accepted=True, duplicate=outcome == DUPLICATE))


@attrs.frozen
class BatchQueue:
    """``GET /get``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Lease a batch, waiting until one is full; 204 if none is in time."""
        worker, key = worker_of(request), request_key(request)
        wait = wait_of(request)

        def ask() -> StoredBatch | None:
            if self.services.finished:
                raise run_over()
            if not self.services.hands_out_batches:
                return None
            self.services.end_overdue()  # also while a trainer waits, as for problems
            return self.services.store.batches.lease(
                worker, self.services.batch_trees, self.services.draining, key
            )

        batch = self.services.waiting.until("batches", ask, wait, response)
        if batch is not None:
            response.content_type = wire.CONTENT_TYPE
            response.data = wire.pack_batch(batch.id, batch.expires, batch.bodies)

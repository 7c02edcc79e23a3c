"""What `ralo doctor --fix` does with rows whose blob is gone: the work is done again, once.

The run is stopped meanwhile. `views.inspection` finds the rows.
"""

from ralo_server.store import batches, gradients, trees
from ralo_server.store.database import Database
from ralo_server.store.evaluation.evaluations import give_up
from ralo_server.store.lease_terms import WhichLeases
from ralo_server.store.lifecycle import in_states
from ralo_server.store.states import TreeState
from ralo_server.store.weights.versions import mark_pruned

_BATCH = f"SELECT batch_id FROM trees WHERE lease_id = ? AND {in_states(TreeState.LEASED)}"  # noqa: S608


def forget_tree(database: Database, lease_id: str) -> None:
    """Let the problem of a lost tree wait again; the batch that the tree is in ends."""
    with database.write() as connection:
        batch = connection.execute(_BATCH, (lease_id,)).fetchone()
        if batch is not None:
            batches.take_back(connection, WhichLeases.one(batch["batch_id"]))
        trees.discard(connection, lease_id)


def forget_kept_tree(database: Database, lease_id: str) -> None:
    """Remove the row of a tree whose step is committed: it was there to be looked at only."""
    with database.write() as connection:
        trees.remove_kept(connection, lease_id)


def forget_gradient(database: Database, upload_id: str) -> None:
    """Let the trees of a lost gradient wait for a trainer again."""
    with database.write() as connection:
        gradients.discard(connection, upload_id)


def forget_version(database: Database, number: int) -> None:
    """Count a damaged version as pruned; it is not evaluated any more."""
    with database.write() as connection:
        mark_pruned(connection, [number])
        give_up(connection, [number])

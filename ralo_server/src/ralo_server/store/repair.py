"""What becomes of rows whose blob is gone: the work is done again, and nothing counts twice.

Neighbours: ``ralo doctor --fix`` calls it for a stopped run; `inspection` finds the rows.
"""

from ralo_server.store.database import Database
from ralo_server.store.evaluation.evaluations import give_up
from ralo_server.store.leases import give_back
from ralo_server.store.requeue import discard_gradient, discard_tree
from ralo_server.store.weights.parts import forget_parts


def forget_tree(database: Database, lease_id: str) -> None:
    """Let the problem of a lost tree wait again; the batch that the tree is in ends."""
    with database.write() as connection:
        batch = connection.execute(
            "SELECT batch_id FROM trees WHERE lease_id = ? AND state = 'leased'", (lease_id,)
        ).fetchone()
        if batch is not None:
            give_back(connection, batch["batch_id"])
        discard_tree(connection, lease_id)


def forget_kept_tree(database: Database, lease_id: str) -> None:
    """Remove the row of a tree whose step is committed: it was there to be looked at only."""
    with database.write() as connection:
        connection.execute(
            "DELETE FROM trees WHERE lease_id = ? AND state = 'trained'", (lease_id,)
        )


def forget_gradient(database: Database, upload_id: str) -> None:
    """Let the trees of a lost gradient wait for a trainer again."""
    with database.write() as connection:
        discard_gradient(connection, upload_id)


def forget_version(database: Database, number: int) -> None:
    """Count a damaged version as pruned; it is not evaluated any more."""
    with database.write() as connection:
        connection.execute("UPDATE versions SET state = 'pruned' WHERE number = ?", (number,))
        forget_parts(connection, [number])
        give_up(connection, [number])

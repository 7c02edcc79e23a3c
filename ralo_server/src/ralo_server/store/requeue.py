"""Taking a gradient or a tree out of its queue so that what it was made from is done again.

Neighbours: `rollbacks` discards what abandoned versions made, `mending` what lost its blob.
The rows stay, as ``discarded``, and are counted in ``/stats``; blobs are the caller's.
"""

import sqlite3

from ralo_server.store.values import count


def discard_gradient(connection: sqlite3.Connection, upload_id: str) -> None:
    """Discard a pending gradient; the trees of its batch wait for a trainer again."""
    batch_id = connection.execute(
        "SELECT batch_id FROM gradients WHERE upload_id = ?", (upload_id,)
    ).fetchone()[0]
    connection.execute("UPDATE gradients SET state = 'discarded' WHERE upload_id = ?", (upload_id,))
    connection.execute("UPDATE batches SET state = 'expired' WHERE id = ?", (batch_id,))
    back = connection.execute(
        """UPDATE trees SET state = 'queued', batch_id = NULL
           WHERE state = 'trained' AND batch_id = ?""",
        (batch_id,),
    ).rowcount
    count(connection, "trees_trained", -back)


def discard_tree(connection: sqlite3.Connection, lease_id: str) -> None:
    """Discard a queued tree; its problem waits for a sampler again."""
    connection.execute("UPDATE trees SET state = 'discarded' WHERE lease_id = ?", (lease_id,))
    connection.execute(
        "UPDATE problems SET state = 'waiting', lease_id = NULL, request = NULL WHERE lease_id = ?",
        (lease_id,),
    )

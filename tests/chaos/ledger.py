"""What became of everything: the rows of a run's store beside what its workers wrote down.

A grant or an upload is
known by its id, so the two sides meet without trusting each other.
"""

import attrs

from chaos.journal import read_all
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store.database import Database

_APPLIED = """SELECT b.step, g.upload_id, g.weight FROM gradients g JOIN batches b
    ON b.id = g.batch_id WHERE g.state = 'applied' ORDER BY b.step, g.number"""


@attrs.frozen(kw_only=True)
class Ledger:
    """The store: states by lease, batch and upload; steps as the uploads they consumed, in order.

    The journals: trees and gradients that were sent (lease or upload -> facts) and accepted, and
    the leases of every batch that a trainer got.
    """

    problems: dict
    trees: dict
    batches: dict
    gradients: dict
    steps: dict
    trees_sent: dict
    trees_accepted: set
    gradients_sent: dict
    gradients_accepted: set
    granted: dict

    def used(self):
        """Return batch -> state of the batches whose trees are done with."""
        return {batch: state for batch, state in self.batches.items() if state in ("done", "empty")}


def read_ledger(run_dir, journals):
    """Return the ledger of a run that has ended."""
    database, lines = Database(RunDirectory(run_dir).state, read_only=True), read_all(journals)

    def table(sql):
        return {row[0]: row[1] for row in database.rows(sql)}

    def sent(kind, key):
        return {line[key]: line for line in lines if line["kind"] == f"{kind} sent"}

    def accepted(kind, key):
        return {line[key] for line in lines if line["kind"] == f"{kind} accepted"}

    steps = {}
    for step, upload, weight in database.rows(_APPLIED):
        steps.setdefault(step, []).append((upload, weight))
    return Ledger(
        problems=table("SELECT lease_id, state FROM problems WHERE lease_id IS NOT NULL"),
        trees=table("SELECT lease_id, state FROM trees"),
        batches=table("SELECT id, state FROM batches"),
        gradients={
            row[0]: (row[1], row[2])
            for row in database.rows("SELECT upload_id, state, batch_id FROM gradients")
        },
        steps=steps,
        trees_sent=sent("tree", "lease"),
        trees_accepted=accepted("tree", "lease"),
        gradients_sent=sent("gradient", "upload"),
        gradients_accepted=accepted("gradient", "upload"),
        granted={line["batch"]: line["leases"] for line in lines if line["kind"] == "batch"},
    )

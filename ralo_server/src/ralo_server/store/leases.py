"""Leases: renewed and given up by the workers that hold them.

A lease is a row in state leased whose `expires` lies ahead. `problems`, `batches` and
`evaluation.shards` grant leases, and each says what becomes of its rows when one ends. The id of a
lease is new with every grant, so whoever quotes an older one hears that it is lost. `expiry` takes
back what nobody renewed.
"""

import sqlite3
from collections.abc import Sequence

import attrs

from ralo_core.errors import RaloError
from ralo_server.store import batches, problems
from ralo_server.store.database import Database
from ralo_server.store.evaluation import shard_rows
from ralo_server.store.lease_terms import LeaseTerms, WhichLeases

LEASED_TABLES = (problems.LEASES, batches.LEASES, shard_rows.LEASES)


class NotTheOwner(RaloError):
    """Raised when a worker renews or releases a lease that another worker holds."""


@attrs.frozen
class Leases:
    """The leases of a run, which live as long as `terms` says."""

    database: Database
    terms: LeaseTerms

    def renew_held(
        self, connection: sqlite3.Connection, worker_id: str, lease_ids: Sequence[str]
    ) -> list[str]:
        """Extend those of these leases that are the worker's; return the others: they are over."""
        return [lease for lease in lease_ids if not self._extend(connection, lease, worker_id)]

    def renew(self, worker_id: str, lease_ids: Sequence[str]) -> tuple[list[str], list[str]]:
        """Extend these leases; return those that live on and those that are lost.

        Raises `NotTheOwner`, and extends none, if another worker holds one of them.
        """
        with self.database.write() as connection:
            self.check_owner(worker_id, lease_ids)
            lost = self.renew_held(connection, worker_id, lease_ids)
        return [lease for lease in lease_ids if lease not in lost], lost

    def release(self, worker_id: str, lease_ids: Sequence[str], outcome: str, reason: str) -> int:
        """End leases as ``returned``, ``failed`` or ``empty``; return how many there were.

        `reason` is stored with a problem that failed; other leases have no place for it. Raises
        `NotTheOwner`, and ends none, if another worker holds one of them.
        """
        with self.database.write() as connection:
            self.check_owner(worker_id, lease_ids)
            return sum(_release(connection, lease, outcome, reason) for lease in lease_ids)

    def check_owner(self, worker_id: str, lease_ids: Sequence[str]) -> None:
        """Raise `NotTheOwner` if another worker holds one of these leases."""
        for lease in lease_ids:
            for table in LEASED_TABLES:
                owner = table.owner(self.database, lease)
                if owner not in (None, worker_id):
                    msg = f"lease {lease} belongs to {owner}, not to {worker_id}"
                    raise NotTheOwner(msg)

    def _extend(self, connection: sqlite3.Connection, lease: str, worker_id: str) -> bool:
        expires = self.terms.deadline()
        return any(table.extend(connection, lease, worker_id, expires) for table in LEASED_TABLES)


def take_back(connection: sqlite3.Connection, which: WhichLeases) -> int:
    """End these leases, whatever they are of; return how many they were."""
    return (
        problems.take_back(connection, which)
        + batches.take_back(connection, which)
        + shard_rows.take_back(connection, which)
    )


def _release(connection: sqlite3.Connection, lease: str, outcome: str, reason: str) -> bool:
    if outcome == "empty":
        return batches.close_empty(connection, lease)
    # There is no failed shard: an evaluation must come to its end, so another sampler gets it.
    if outcome == "failed" and (
        problems.fail(connection, lease, reason) or batches.fail(connection, lease)
    ):
        return True
    return bool(take_back(connection, WhichLeases.one(lease)))

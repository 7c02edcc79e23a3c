"""The table of evaluation shards: consecutive items of a benchmark that one sampler leases."""

import json
import sqlite3
from collections.abc import Sequence

from ralo_core.data import ItemResponses
from ralo_core.structuring import structure, unstructure
from ralo_server.store.lease_terms import LeasedTable, WhichLeases
from ralo_server.store.states import SHARDS, ShardState
from ralo_server.store.values import count

LEASES = LeasedTable(SHARDS.table, "lease_id", ShardState.LEASED)

REPORTED_TOTAL = "evaluation_shards_reported"
"""The counter of shards that were reported since the run began."""


def add(connection: sqlite3.Connection, evaluation: str, items: int, shard_items: int) -> None:
    """Cut the `items` items of an evaluation into shards of at most `shard_items`."""
    for number, first in enumerate(range(0, items, shard_items)):
        SHARDS.insert(
            connection,
            ShardState.WAITING,
            id=f"{evaluation}-{number}",
            evaluation=evaluation,
            first=first,
            items=min(shard_items, items - first),
        )


def remove(connection: sqlite3.Connection, evaluation: str) -> None:
    """Remove the shards of an evaluation."""
    SHARDS.remove(connection, "evaluation = :evaluation", evaluation=evaluation)


def lease(
    connection: sqlite3.Connection,
    shard_id: str,
    lease_id: str,
    worker_id: str,
    expires: float,
    request: str | None,
) -> None:
    """Grant a waiting shard to a worker."""
    SHARDS.move(
        connection,
        ShardState.LEASED,
        "id = :shard",
        sets="""lease_id = :lease, worker_id = :worker, expires = :expires, request = :request""",
        shard=shard_id,
        lease=lease_id,
        worker=worker_id,
        expires=expires,
        request=request,
    )


def take_back(connection: sqlite3.Connection, which: WhichLeases) -> int:
    """End leases: the shards wait for another sampler; return how many they were."""
    return SHARDS.move(
        connection,
        ShardState.WAITING,
        which.where("lease_id"),
        sets="worker_id = NULL",
        **which.values,
    )


def report(
    connection: sqlite3.Connection, shard_id: str, responses: Sequence[ItemResponses]
) -> None:
    """Store the responses to the items of a leased shard, and count it."""
    SHARDS.move(
        connection,
        ShardState.REPORTED,
        "id = :shard",
        sets="responses = :responses",
        shard=shard_id,
        responses=json.dumps(unstructure(list(responses))),
    )
    count(connection, REPORTED_TOTAL)


def drop_responses(connection: sqlite3.Connection, evaluation: str) -> None:
    """Forget the responses of an evaluation that has its result: from now on a file has them."""
    connection.execute(
        "UPDATE evaluation_shards SET responses = NULL WHERE evaluation = ?", (evaluation,)
    )


def load_responses(text: str) -> list[ItemResponses]:
    """Return the responses that `report` stored."""
    return list(structure(json.loads(text), tuple[ItemResponses, ...]))

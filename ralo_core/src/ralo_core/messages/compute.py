"""What a run costs: reported by workers, summed up by role."""

from collections.abc import Mapping

import attrs
from attrs.validators import deep_mapping, instance_of

from ralo_core.identifiers import identifier
from ralo_core.messages.bounds import MOST, amount
from ralo_core.options.checks import between, one_of

REPORTED_ROLES = ("sampler", "evaluator", "trainer")
"""Roles that workers report for; ``benchmark`` is what evaluations took of a sampler."""


@attrs.frozen(kw_only=True)
class Spent:
    """Device-seconds, and tokens that were decoded or trained."""

    working_seconds: float = attrs.field(validator=amount)
    waiting_seconds: float = attrs.field(validator=amount)
    tokens: int = attrs.field(validator=amount)


@attrs.frozen(kw_only=True)
class ComputeReport:
    """Body of ``POST /compute/report``: totals of one start of a worker that has `devices`.

    `session` names the start, which was `age_seconds` old. Of two reports of a session the one of
    greater age stands.
    """

    worker_id: str = attrs.field(validator=identifier)
    session: str = attrs.field(validator=identifier)
    age_seconds: float = attrs.field(validator=amount)
    devices: int = attrs.field(validator=between(1, MOST))
    roles: Mapping[str, Spent] = attrs.field(
        validator=deep_mapping(one_of(*REPORTED_ROLES), instance_of(Spent))
    )


@attrs.frozen(kw_only=True)
class SpentByAll(Spent):
    """What all workers of a role have spent; `devices` and `workers` are those here now."""

    devices: int
    workers: int


@attrs.frozen(kw_only=True)
class VersionCost:
    """What training had cost when a version came to be, evaluations left out."""

    version: int
    step: int
    working_seconds: float
    tokens: int


@attrs.frozen(kw_only=True)
class ComputeStats:
    """Reply of ``GET /compute/stats``. In `total` a sampler that also evaluates is one worker;
    `versions` are at most 200, evenly thinned, the last among them."""

    roles: Mapping[str, SpentByAll]
    total: SpentByAll
    versions: tuple[VersionCost, ...]

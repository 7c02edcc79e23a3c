"""Leases: renewed or given up by their ids."""

import attrs

from ralo_core.messages.bounds import identifiers
from ralo_core.options.checks import one_of


@attrs.frozen(kw_only=True)
class Renew:
    """Body of ``POST /lease/renew``."""

    lease_ids: tuple[str, ...] = attrs.field(validator=identifiers)


@attrs.frozen(kw_only=True)
class Renewed:
    """Reply of ``POST /lease/renew``: which leases hold on, and which are lost."""

    renewed: tuple[str, ...]
    lost: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Release:
    """Body of ``POST /lease/release``; `reason` says why the work of a lease failed."""

    lease_ids: tuple[str, ...] = attrs.field(validator=identifiers)
    outcome: str = attrs.field(validator=one_of("returned", "failed", "empty"))
    reason: str = ""


@attrs.frozen(kw_only=True)
class Released:
    """Reply of ``POST /lease/release``: how many leases ended."""

    released: int

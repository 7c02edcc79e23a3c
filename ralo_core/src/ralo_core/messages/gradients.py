"""Gradient uploads, after their declaration, which is `ralo_core.data.GradientUpload`."""

import attrs

from ralo_core.identifiers import identifier


@attrs.frozen(kw_only=True)
class Declared:
    """Reply of ``POST /gradient/declare``.

    `declared` False means that nothing was stored: declare again with these `chunk_bytes`.
    `missing` are the indices of the chunks to send.
    """

    declared: bool
    chunk_bytes: int
    missing: tuple[int, ...]


@attrs.frozen(kw_only=True)
class Received:
    """Reply of ``POST /gradient/upload_chunk``: the bytes of the chunk."""

    received: int


@attrs.frozen(kw_only=True)
class Finalize:
    """Body of ``POST /gradient/upload_finalize``."""

    upload_id: str = attrs.field(validator=identifier)


@attrs.frozen(kw_only=True)
class GradientAccepted:
    """Reply of ``POST /gradient/upload_finalize``; `version` is the newest one."""

    accepted: bool
    duplicate: bool
    version: int

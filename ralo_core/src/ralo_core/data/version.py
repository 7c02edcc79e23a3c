"""`WeightVersion`: one published set of policy weights.

Neighbours: the learner publishes it, `/weights/version` serves it, workers verify the files
against it. It describes files by name, size and hash and never opens one.
"""

import attrs


@attrs.frozen(kw_only=True)
class WeightFile:
    """A file of a version: its name, size in bytes and sha256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@attrs.frozen(kw_only=True)
class WeightVersion:
    """Version `number`, made from `parent` at unix time `created` (seconds)."""

    number: int
    parent: int | None
    sha256: str
    files: tuple[WeightFile, ...]
    created: float

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
class WeightDelta:
    """`file` turns the weights of version `base`, whose sha256 is `base_sha256`, into those of
    the version that names it, bit for bit."""

    base: int
    base_sha256: str
    file: WeightFile


@attrs.frozen(kw_only=True)
class WeightVersion:
    """Version `number`, made by optimizer step `step` from `parent` at unix time `created`
    (seconds). `sha256` is over the names and digests of `files`; `deltas` are shorter ways."""

    number: int
    parent: int | None
    sha256: str
    files: tuple[WeightFile, ...]
    created: float
    step: int = 0
    deltas: tuple[WeightDelta, ...] = ()

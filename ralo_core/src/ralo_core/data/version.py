"""`WeightVersion`: one published set of policy weights.

It describes files by name, size and hash, so that workers can verify what they fetched, and opens
none.
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

    @property
    def size(self) -> int:
        """The bytes of all files, without deltas."""
        return sum(file.size for file in self.files)

    def find(self, name: str) -> WeightFile | None:
        """Return the file or delta of this name, None if there is none."""
        delta_files = (delta.file for delta in self.deltas)
        return next((file for file in (*self.files, *delta_files) if file.name == name), None)


@attrs.frozen(kw_only=True)
class DeltaLink:
    """`delta` leads to `version`, whose folder has its file; links make chains."""

    version: int
    delta: WeightDelta

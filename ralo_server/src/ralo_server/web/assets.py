"""The dashboard's files in memory, each with its type, its ETag and its gzip.

The files lie in ``ralo_server/dashboard``. A path is looked up among the files that were there at
the start, never joined to a folder, so nothing outside can be named.
"""

import gzip
import hashlib
import mimetypes
from pathlib import Path

import attrs

FOLDER = Path(__file__).parent.parent / "dashboard"
_LEVEL = 9
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/plain; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""Named here because the system's own table differs from machine to machine."""


@attrs.frozen(kw_only=True)
class Asset:
    """A file: `gzipped` is None where that is not shorter, `stamp` is that of the file on disk."""

    content: bytes
    gzipped: bytes | None
    content_type: str
    etag: str
    stamp: tuple[int, int]


class Assets:
    """The files below `folder`, by their path in it; each is read once, and again when changed."""

    def __init__(self, folder: Path = FOLDER) -> None:
        files = (path for path in folder.rglob("*") if path.is_file())
        self._paths = {path.relative_to(folder).as_posix(): path for path in files}
        self._assets: dict[str, Asset] = {}

    def get(self, name: str) -> Asset | None:
        """Return the file, None if there is none of that name."""
        path = self._paths.get(name)
        if path is None:
            return None
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        asset = self._assets.get(name)
        if asset is None or asset.stamp != stamp:
            asset = self._assets[name] = _read(path, stamp)
        return asset


def _read(path: Path, stamp: tuple[int, int]) -> Asset:
    content = path.read_bytes()
    gzipped = gzip.compress(content, _LEVEL, mtime=0)
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(
        content=content,
        gzipped=gzipped if len(gzipped) < len(content) else None,
        content_type=_TYPES.get(path.suffix, guessed),
        etag=hashlib.sha256(content).hexdigest()[:32],
        stamp=stamp,
    )

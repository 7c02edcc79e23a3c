"""Weight versions: which is the newest, what it consists of, its files."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import attrs
import falcon

from ralo_core.data import WeightVersion
from ralo_core.structuring import unstructure
from ralo_server.web.bodies import wait_of
from ralo_server.web.services import Services

_BLOCK = 1 << 20
_MOST_VERSIONS = 1 << 31


@attrs.frozen
class WeightVersions:
    """``GET /weights/version``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the newest version if it is newer than `after`, waiting for one; else 204."""
        after = request.get_param_as_int("after", default=-1)
        wait = wait_of(request)
        versions = self.services.store.versions

        def ask() -> WeightVersion | None:
            return versions.newest() if versions.newest_number() > after else None

        question = ("version after", after)
        version = self.services.waiting.until(question, ask, wait, response)
        if version is not None:
            response.media = unstructure(version)


@attrs.frozen
class WeightManifest:
    """``GET /weights/manifest``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the files of one version."""
        response.media = unstructure(find_version(self.services, request))


@attrs.frozen
class WeightFileDownload:
    """``GET /weights/download``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give one file, or the part of it that ``Range`` asks for, without reading it whole."""
        version = find_version(self.services, request)
        name = request.get_param("file", required=True)
        entry = version.find(name)
        if entry is None:
            known = ", ".join(file.name for file in version.files)
            raise falcon.HTTPNotFound(
                title="no such file", description=f"version {version.number} has {known}"
            )
        response.etag = entry.sha256
        response.cache_control = ["public", "max-age=31536000", "immutable"]
        if any(tag == "*" or tag == entry.sha256 for tag in request.if_none_match or ()):
            response.status = falcon.HTTP_304
            return
        response.accept_ranges = "bytes"
        response.content_type = "application/octet-stream"
        path = self.services.store.versions.directory(version.number) / entry.name
        _send(request, response, path, entry.size)


def find_version(services: Services, request: falcon.Request) -> WeightVersion:
    """Return the version that a request names; raises 404 for one that is not there."""
    number = request.get_param_as_int("version", required=True, max_value=_MOST_VERSIONS)
    version = services.store.versions.get(number)
    if version is None:
        newest = services.store.versions.newest_number()
        raise falcon.HTTPNotFound(
            title="no such version",
            description=f"version {number} was never published or is pruned; newest: {newest}",
        )
    return version


def _send(request: falcon.Request, response: falcon.Response, path: Path, size: int) -> None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise falcon.HTTPNotFound(title="no such version", description="just pruned") from None
    asked = request.range if request.range_unit == "bytes" else None
    if asked is None and request.scheme == "http":
        response.set_stream(file, size)
        return
    if asked is None:
        # There is no sendfile through TLS, and gunicorn would then send blocks of 8 KiB.
        response.content_length = size
        response.stream = _blocks(file, size)
        return
    first, last = _bounds(asked, size)
    file.seek(first)
    response.status = falcon.HTTP_206
    response.content_range = (first, last, size)
    response.content_length = last - first + 1
    response.stream = _blocks(file, last - first + 1)


def _bounds(asked: tuple[int, int], size: int) -> tuple[int, int]:
    """Return first and last byte; falcon gives -1 for an open end, a negative start for a tail."""
    first, last = asked
    if first < 0:
        first, last = max(0, size + first), size - 1
    last = size - 1 if last < 0 else min(last, size - 1)
    if first > last:
        raise falcon.HTTPRangeNotSatisfiable(size)
    return first, last


def _blocks(file: IO[bytes], left: int) -> Iterator[bytes]:
    with file:
        while left and (block := file.read(min(left, _BLOCK))):
            left -= len(block)
            yield block

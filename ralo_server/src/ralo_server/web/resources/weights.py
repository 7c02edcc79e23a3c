"""Weight versions: which is the newest, what it consists of, its files."""

import json
from pathlib import Path
from typing import Any

import attrs
import falcon

from ralo_core.data import WeightVersion
from ralo_core.messages.weights import WeightManifest as Manifest
from ralo_core.structuring import unstructure
from ralo_server.models.version_files import MANIFEST
from ralo_server.store.weights.parts import Part
from ralo_server.web.requests.bodies import checked_identifier, wait_of
from ralo_server.web.responses.immutable import send_immutable
from ralo_server.web.services import Services

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
            _hold(self.services, request, version.number)
            response.media = unstructure(version)


@attrs.frozen
class WeightManifest:
    """``GET /weights/manifest``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the files of one version, and its tensors where its manifest names them."""
        version = find_version(self.services, request)
        manifest = self.services.store.versions.directory(version.number) / MANIFEST
        fields = attrs.asdict(version, recurse=False)
        response.media = unstructure(Manifest(**fields, tensors=_tensors(manifest)))


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
        path = self.services.store.versions.directory(version.number) / entry.name
        send_immutable(request, response, path, entry)

    on_head = on_get


@attrs.frozen
class WeightParts:
    """``GET /weights/parts/{sha256}``: a file or delta of any version that is kept."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response, sha256: str) -> None:
        """Give the part, or say where the object store has it, unless ``X-Ralo-Direct`` asks for
        the bytes themselves: relays do."""
        part = self.services.store.parts.find(sha256)
        if part is None:
            raise falcon.HTTPNotFound(
                title="no such part", description=f"no version that is kept has {sha256[:64]}"
            )
        _renew(self.services, request)
        store = self.services.object_store
        url = store.signed_url(sha256) if store and self._may_redirect(request, part) else ""
        if url:
            # The signature ends before the part does.
            raise falcon.HTTPTemporaryRedirect(url, headers={"Cache-Control": "no-store"})
        send_immutable(request, response, part.path, part.file)

    on_head = on_get

    @staticmethod
    def _may_redirect(request: falcon.Request, part: Part) -> bool:
        return part.stored and request.get_header("X-Ralo-Direct") is None


def find_version(services: Services, request: falcon.Request) -> WeightVersion:
    """Return the version that a request names; raises 404 for one that is not there."""
    number = request.get_param_as_int("version", required=True, max_value=_MOST_VERSIONS)
    _hold(services, request, number)  # before it is looked up: what is found then, stays
    version = services.store.versions.get(number)
    if version is None:
        newest = services.store.versions.newest_number()
        raise falcon.HTTPNotFound(
            title="no such version",
            description=f"version {number} was never published or is pruned; newest: {newest}",
        )
    return version


def _hold(services: Services, request: falcon.Request, number: int) -> None:
    """Keep a version from being pruned while the worker that asks for it fetches it."""
    worker = _worker(request)
    if worker:
        services.store.version_holds.hold(worker, number)


def _renew(services: Services, request: falcon.Request) -> None:
    worker = _worker(request)
    if worker:
        services.store.version_holds.renew(worker)


def _worker(request: falcon.Request) -> str:
    """Return who asks, ``""`` for somebody who only looks."""
    name = request.get_header("X-Ralo-Worker")
    return checked_identifier("X-Ralo-Worker", name) if name else ""


def _tensors(manifest: Path) -> dict[str, Any] | None:
    """Return the tensors that a manifest file names, None where it names none."""
    try:
        document = json.loads(manifest.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise falcon.HTTPNotFound(title="no such version", description="just pruned") from None
    tensors: dict[str, Any] | None = document.get("tensors")
    return tensors

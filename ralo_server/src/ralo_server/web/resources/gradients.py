"""Gradient uploads: declared, received in chunks, then checked and committed.

Neighbours: `store.uploads` keeps the state of every upload, `part_file` writes the bytes,
`gradient_checks` is the door. A request may come twice, in any order, and after a restart of
either side.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import falcon

from ralo_core.data import GradientUpload
from ralo_server.gradients.checks import (
    NORMS_WINDOW,
    NOT_FINITE,
    OUTLIER,
    agreed_chunk_bytes,
    check_declaration,
    check_norm,
    inspect,
)
from ralo_server.gradients.parameters import parameter_shapes
from ralo_server.gradients.part_file import Occupied, PartFile, Removed, write_through
from ralo_server.store import uploads as states
from ralo_server.store.uploads import Limits, Upload
from ralo_server.web.requests.bodies import (
    MIB,
    checked_identifier,
    checked_length,
    drain,
    read_blocks,
    read_json,
)
from ralo_server.web.requests.messages import Finalize
from ralo_server.web.requests.ownership import check_owner
from ralo_server.web.responses import problem_documents as problems
from ralo_server.web.services import Services


@attrs.frozen
class GradientDeclare:
    """``POST /gradient/declare``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Admit an upload and say which chunks it lacks, or which chunk size to declare."""
        if self.services.finished:
            raise problems.run_over()
        upload = read_json(request, GradientUpload)
        check_owner(self.services, request, upload.batch_id)
        self.services.take_back_lost_leases()
        agreed = self._agreed_chunk_bytes(upload)
        declared = agreed == upload.chunk_bytes
        missing = self._admit(upload) if declared else []
        response.media = {"declared": declared, "chunk_bytes": agreed, "missing": missing}

    def _agreed_chunk_bytes(self, upload: GradientUpload) -> int:
        """Return the chunk size of a known upload, and for a new one what it comes to."""
        known = self.services.store.uploads.find(upload.upload_id)
        if known is not None:
            return known.chunk_bytes
        self._check(upload)
        server = self.services.server
        return agreed_chunk_bytes(upload, min(server.chunk_mb, server.max_body_mb) * MIB)

    def _admit(self, upload: GradientUpload) -> list[int]:
        """Return the chunks that are to come; the file then has its place on the disk."""
        uploads = self.services.store.uploads
        self._declare(upload)
        known = _find(self.services, upload.upload_id)
        if _is_committed(known):
            return []
        with _problems_of(known):
            PartFile(known.path, known.size).preallocate()
        return uploads.missing(upload.upload_id)

    def _check(self, upload: GradientUpload) -> None:
        """Raise 422 for a declaration that no bytes can make good, 503 where they do not fit."""
        store = self.services.store
        if not store.uploads.batch_leased(upload.batch_id):
            raise problems.lease_lost(f"batch {upload.batch_id}")
        codec, newest = self.services.config.chosen("codec"), store.versions.newest_number()
        fault = check_declaration(upload, codec, newest, parameter_shapes(store.directory))
        if fault:
            store.uploads.count_refused_declaration(upload.upload_id)
            raise problems.invalid(fault)
        if self.services.lacks_disk(upload.size):
            raise problems.disk_full()

    def _declare(self, upload: GradientUpload) -> None:
        server = self.services.server
        limits = Limits(receiving=server.concurrent_uploads, pending=server.pending_gradients)
        outcome = self.services.store.uploads.declare(upload, limits)
        if outcome == states.LOST:
            raise problems.lease_lost(f"batch {upload.batch_id}")
        if outcome == states.OTHER:
            raise falcon.HTTPConflict(
                title="another upload", description=f"{upload.upload_id} stands for other bytes"
            )
        if outcome == states.FULL:
            raise problems.queue_full(f"{limits.pending} gradients are received or wait for a step")
        if outcome == states.BUSY:
            raise problems.busy(f"{limits.receiving} gradients are being received")


@attrs.frozen
class GradientChunk:
    """``POST /gradient/upload_chunk``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Write a chunk at its place and record it; a second time has no effect."""
        upload_id = checked_identifier(
            "upload_id", str(request.get_param("upload_id", required=True))
        )
        index = request.get_param_as_int("index", required=True, min_value=0)
        length = checked_length(request, self.services.server.max_body_mb * MIB)
        try:
            upload = _find(self.services, upload_id)
            check_owner(self.services, request, upload.batch_id)
            if not _is_committed(upload):
                self._receive(request, upload, index, length)
        except falcon.HTTPError:
            drain(request, length)
            raise
        drain(request, length)
        response.media = {"received": length}

    def _receive(self, request: falcon.Request, upload: Upload, index: int, length: int) -> None:
        uploads, (offset, expected) = self.services.store.uploads, upload.extent(index)
        if length != expected:
            raise problems.invalid(f"chunk {index} has {expected} bytes, got {length}")
        with (
            _problems_of(upload),
            PartFile(upload.path, upload.size).locked(offset, length) as descriptor,
        ):
            chunk = uploads.chunk(upload.upload_id, index)
            if chunk is None:
                raise Removed
            declared, received = chunk
            if received:
                return
            digest = write_through(descriptor, offset, read_blocks(request, length))
            if digest != declared:
                raise falcon.HTTPBadRequest(
                    title="other bytes", description=f"chunk {index} has not the declared digest"
                )
            if not uploads.receive(upload.upload_id, index):
                raise Removed


@attrs.frozen
class GradientFinalize:
    """``POST /gradient/upload_finalize``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Check a received gradient and queue it for the learner."""
        upload = _find(self.services, read_json(request, Finalize).upload_id)
        check_owner(self.services, request, upload.batch_id)
        outcome = states.DUPLICATE
        if not _is_committed(upload):
            # Alone: a second finalize would only read the same bytes once more.
            with _problems_of(upload), PartFile(upload.path, upload.size).locked(0, upload.size):
                outcome = self._check_and_commit(upload)
        if outcome == states.LOST:
            raise problems.lease_lost(f"batch {upload.batch_id}")
        response.media = {
            "accepted": True,
            "duplicate": outcome == states.DUPLICATE,
            "version": self.services.store.versions.newest_number(),
        }

    def _check_and_commit(self, upload: Upload) -> str:
        uploads, directory = self.services.store.uploads, self.services.store.directory
        missing = uploads.missing(upload.upload_id)
        if missing:
            raise problems.chunks_missing(f"{len(missing)} chunks, the first is {missing[0]}")
        found = check_norm(
            inspect(upload.path, parameter_shapes(directory), self.services.codec),
            uploads.accepted_norms(NORMS_WINDOW),
            self.services.server.max_norm_ratio,
        )
        if not found.reason:
            return uploads.commit(upload.upload_id, found.norm)
        if not uploads.refuse(upload.upload_id, found.reason, found.detail):
            return states.LOST
        raise _refusal(found.reason, found.detail)


def _find(services: Services, upload_id: str) -> Upload:
    """Return a declared upload; raises 404 without one, and how it ended without success."""
    upload = services.store.uploads.find(upload_id)
    if upload is None:
        raise falcon.HTTPNotFound(
            title="unknown upload", description=f"{upload_id!r} must be declared first"
        )
    if upload.state == states.REFUSED:
        raise _refusal(upload.reason, upload.detail)
    if upload.state in (states.ABANDONED, states.DISCARDED):
        raise problems.lease_lost(f"batch {upload.batch_id}")
    return upload


def _is_committed(upload: Upload) -> bool:
    return upload.state in states.COMMITTED


def _refusal(reason: str, detail: str) -> falcon.HTTPError:
    if reason in (NOT_FINITE, OUTLIER):
        return problems.gradient_refused(detail)
    return problems.invalid(detail)


@contextmanager
def _problems_of(upload: Upload) -> Iterator[None]:
    """Turn what can happen to the file of an upload into answers."""
    try:
        yield
    except Occupied as error:
        raise problems.busy(f"{upload.upload_id} is being written or checked") from error
    except Removed as error:
        raise problems.lease_lost(f"batch {upload.batch_id}") from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise problems.disk_full() from error

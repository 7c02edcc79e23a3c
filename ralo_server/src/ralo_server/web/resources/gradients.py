"""Gradient uploads: chunks into one file at their place, then a check and a commit."""

import os
import re

import attrs
import falcon

from ralo_core.data import GradientUpload
from ralo_server.blobs import sha256_of, sync
from ralo_server.gradient_checks import check_declaration, check_gradient
from ralo_server.store.gradients import DUPLICATE, LOST
from ralo_server.web.bodies import MIB, checked_length, read_blocks, read_json
from ralo_server.web.problems_json import invalid, lease_lost
from ralo_server.web.services import Services

_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@attrs.frozen
class GradientChunk:
    """``POST /gradient/upload_chunk``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Write a chunk at its offset of the preallocated file."""
        upload_id = str(request.get_param("upload_id", required=True))
        offset = request.get_param_as_int("offset", required=True, min_value=0)
        total = request.get_param_as_int("total", required=True, min_value=1)
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise invalid("upload_id must be up to 64 letters, digits, '-' and '_'")
        length = checked_length(request, self.services.server.max_body_mb * MIB)
        if offset + length > total:
            raise invalid(f"a chunk of {length} bytes at {offset} ends after total = {total}")
        descriptor = os.open(
            self.services.store.gradients.part(upload_id), os.O_RDWR | os.O_CREAT, 0o644
        )
        with os.fdopen(descriptor, "r+b") as file:
            if os.fstat(descriptor).st_size != total:
                os.posix_fallocate(descriptor, 0, total)
                os.ftruncate(descriptor, total)
            file.seek(offset)
            for block in read_blocks(request, length):
                file.write(block)
        response.media = {"received": length}


@attrs.frozen
class GradientFinalize:
    """``POST /gradient/upload_finalize``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Verify a received gradient and queue it for the learner."""
        upload = read_json(request, GradientUpload)
        store = self.services.store
        if not _UPLOAD_ID.fullmatch(upload.upload_id):
            raise invalid("upload_id must be up to 64 letters, digits, '-' and '_'")
        if not store.gradients.known(upload.upload_id):
            self._verify(upload)
        outcome = store.gradients.add(upload)
        if outcome == LOST:
            store.gradients.part(upload.upload_id).unlink(missing_ok=True)
            raise lease_lost(f"batch {upload.batch_id}")
        response.media = {
            "accepted": True,
            "duplicate": outcome == DUPLICATE,
            "version": store.versions.newest_number(),
        }

    def _verify(self, upload: GradientUpload) -> None:
        """Raise 409 for bytes that are not there and 422 for a gradient that must not be used."""
        store = self.services.store
        path = store.gradients.part(upload.upload_id)
        if not store.gradients.batch_alive(upload.batch_id):
            path.unlink(missing_ok=True)
            raise lease_lost(f"batch {upload.batch_id}")
        if not path.exists() or path.stat().st_size != upload.size:
            have = path.stat().st_size if path.exists() else 0
            raise falcon.HTTPConflict(
                title="bytes missing", description=f"{have} of {upload.size} bytes were received"
            )
        sync(path)
        if sha256_of(path) != upload.sha256:
            raise falcon.HTTPConflict(
                title="bytes missing",
                description="the sha256 of the received bytes is another: send the chunks again",
            )
        fault = check_declaration(
            upload, self.services.config.chosen("codec"), store.versions.newest_number()
        ) or check_gradient(path, store.directory, self.services.codec)
        if fault:
            store.gradients.refuse(upload.upload_id)
            raise invalid(fault)

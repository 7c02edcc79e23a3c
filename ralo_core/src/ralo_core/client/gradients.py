"""Sending a gradient: declared, sent in chunks by several threads, resumed, finalized.

The bytes are sent from where the tensors lie, without a second copy of them. What the server has
already is not sent again, whichever side was restarted in between.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import attrs

from ralo_core import wire
from ralo_core.client.transport import Transport
from ralo_core.data import GradientUpload
from ralo_core.errors import ServerError
from ralo_core.files.digests import digest_of
from ralo_core.structuring import unstructure

CHUNKS_MISSING = "urn:ralo:chunks-missing"
"""The problem type of a finalize that the server got before all chunks."""

GRADIENT_REFUSED = "urn:ralo:gradient-refused"
"""The problem type of a gradient whose values must not be used."""

THREADS = 4
_CHUNK_SECONDS = 300.0
_CHECK_SECONDS = 900.0
_SPOILT_TRIES = 3


class GradientBody(Protocol):
    """The bytes of a gradient, wherever they lie: in this process, or in several."""

    def __len__(self) -> int:
        """Return the bytes of the body."""

    def digests(self, chunk_bytes: int) -> tuple[str, ...]:
        """Return the digest of every chunk of `chunk_bytes`; the last chunk may be shorter."""

    def send(self, upload_id: str, chunk_bytes: int, missing: Sequence[int]) -> None:
        """Deliver the chunks of these numbers; raises `ServerError` if one is refused."""


class WholeBody:
    """A gradient with `header` whose `tensors` all lie in this process; its chunks go through
    `transport`. The tensors must not change before it is sent."""

    def __init__(
        self, header: Mapping[str, Any], tensors: wire.Tensors, transport: Transport
    ) -> None:
        self._body, self._transport = wire.view(header, tensors), transport

    def __len__(self) -> int:
        return len(self._body)

    def digests(self, chunk_bytes: int) -> tuple[str, ...]:
        """Return the digest of every chunk."""
        return digests_of(self._parts(chunk_bytes))

    def send(self, upload_id: str, chunk_bytes: int, missing: Sequence[int]) -> None:
        """Deliver chunks."""
        parts = self._parts(chunk_bytes)
        send_chunks(self._transport, upload_id, {index: parts[index] for index in missing})

    def _parts(self, chunk_bytes: int) -> list[wire.Body]:
        starts = range(0, len(self), chunk_bytes)
        return [self._body.part(start, start + chunk_bytes) for start in starts]


@attrs.frozen(kw_only=True, eq=False)
class GradientSender:
    """Sends `body`; `fields` are those of the declaration that do not depend on the body."""

    transport: Transport
    body: GradientBody
    fields: Mapping[str, Any]

    def send(self, chunk_bytes: int) -> tuple[dict[str, Any], int]:
        """Deliver the gradient, in chunks of `chunk_bytes` if the server agrees.

        Returns the server's reply and the chunk size that was used. Raises `ServerError`: 409 when
        the batch's lease is lost, 422 when the gradient must not be used.
        """
        upload = self._declaration(chunk_bytes)
        while True:
            reply = self._post("/gradient/declare", unstructure(upload))
            if not reply["declared"]:
                upload = self._declaration(reply["chunk_bytes"])
                continue
            self.body.send(upload.upload_id, upload.chunk_bytes, reply["missing"])
            try:
                done = self._post("/gradient/upload_finalize", {"upload_id": upload.upload_id})
            except ServerError as error:
                if error.problem.get("type") != CHUNKS_MISSING:
                    raise
            else:
                return done, upload.chunk_bytes

    def _declaration(self, chunk_bytes: int) -> GradientUpload:
        return GradientUpload(
            size=len(self.body),
            chunk_bytes=chunk_bytes,
            chunk_digests=self.body.digests(chunk_bytes),
            **self.fields,
        )

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        reply: dict[str, Any] = self.transport.request(
            "POST", path, json=body, timeout=_CHECK_SECONDS
        ).json()
        return reply


def digests_of(parts: Sequence[wire.Body]) -> tuple[str, ...]:
    """Return the digest of each of `parts`, computed side by side."""
    with ThreadPoolExecutor(THREADS) as pool:
        return tuple(pool.map(digest_of, parts))


def send_chunks(transport: Transport, upload_id: str, chunks: Mapping[int, wire.Body]) -> None:
    """Send chunks of an upload by their number, some at once; raises `ServerError` for one that is
    refused."""
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ralo-upload")
    try:
        sent = [pool.submit(_send_chunk, transport, upload_id, *item) for item in chunks.items()]
        for chunk in sent:
            chunk.result()
    finally:
        # After a failure the chunks that were not begun are not sent.
        pool.shutdown(cancel_futures=True)


def _send_chunk(transport: Transport, upload_id: str, index: int, part: wire.Body) -> None:
    for tries in range(1, _SPOILT_TRIES + 1):
        try:
            transport.request(
                "POST",
                "/gradient/upload_chunk",
                params={"upload_id": upload_id, "index": index},
                data=part,
                headers={"Content-Type": "application/octet-stream"},
                timeout=_CHUNK_SECONDS,
            )
        except ServerError as error:
            # 400: other bytes arrived than were sent. That is rare, so another try will do.
            if error.status != 400 or tries == _SPOILT_TRIES:
                raise
        else:
            return

"""One gradient that lies in pieces in the ranks of a group, sent by all of them side by side.

Every rank has the encoded tensors of the parameters that it owns. In the body they stand one behind
the other, so a rank holds few and long stretches of it, and sends the chunks that lie in them. Of a
chunk that lies in two ranks, the one that holds more of it is given the rest.

Rank 0 declares and finalizes it, as it does with a body that lies in one process: the orchestrator
sees one upload.
"""

import itertools
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs
import numpy.typing as npt

from ralo_core import wire
from ralo_core.client import Transport, digests_of, send_chunks
from ralo_core.errors import RaloError
from ralo_worker.trainer.parallel.group import Channel

Encoded = Mapping[str, npt.NDArray[Any]]


@attrs.frozen
class Stretch:
    """Bytes ``start:stop`` of the body, which `rank` holds; `data` is there on that rank alone."""

    start: int
    stop: int
    rank: int
    data: memoryview | None = None

    def cut(self, start: int, stop: int) -> "Stretch":
        """Return what of it lies in ``start:stop``."""
        first, last = max(start, self.start), min(stop, self.stop)
        piece = None if self.data is None else self.data[first - self.start : last - self.start]
        return Stretch(first, last, self.rank, piece)


class GroupBody:
    """The body of a gradient with `header` whose tensors are `mine` and those of the other ranks.

    All ranks make it at once. Rank 0 sends it, as a `GradientBody`; the other ranks `follow`.
    """

    def __init__(
        self, header: Mapping[str, Any], mine: Encoded, channel: Channel, transport: Transport
    ) -> None:
        self._channel, self._transport = channel, transport
        self._stretches = _stretches(header, mine, channel)
        self._cut_at = 0
        self._chunks: dict[int, wire.Body] = {}

    def __len__(self) -> int:
        return self._stretches[-1].stop

    def digests(self, chunk_bytes: int) -> tuple[str, ...]:
        """Return the digest of every chunk; each rank computes those of its own chunks."""
        self._channel.share(("digests", chunk_bytes))
        return self._digests(chunk_bytes)

    def send(self, upload_id: str, chunk_bytes: int, missing: Sequence[int]) -> None:
        """Deliver chunks; each rank sends its own. Raises the first error of any rank."""
        self._channel.share(("send", upload_id, chunk_bytes, list(missing)))
        self._send(upload_id, chunk_bytes, missing)

    def done(self) -> None:
        """End `follow` on the other ranks."""
        self._channel.share(("done",))

    def follow(self) -> None:
        """Do what rank 0 asks for, until it is done with the body."""
        calls: dict[str, Callable[..., Any]] = {"digests": self._digests, "send": self._send}
        order: tuple[Any, ...] = ()
        while (order := self._channel.share(order))[0] != "done":
            # Rank 0 raises it as well, and decides what follows from it.
            with suppress(RaloError, ConnectionError):
                calls[order[0]](*order[1:])

    def _digests(self, chunk_bytes: int) -> tuple[str, ...]:
        self._cut(chunk_bytes)
        mine = dict(zip(self._chunks, digests_of([*self._chunks.values()]), strict=True))
        found = {index: text for each in self._channel.gather(mine) for index, text in each.items()}
        return tuple(found[index] for index in sorted(found))

    def _send(self, upload_id: str, chunk_bytes: int, missing: Sequence[int]) -> None:
        self._cut(chunk_bytes)
        fault: Exception | None = None
        try:
            wanted = {index: self._chunks[index] for index in missing if index in self._chunks}
            send_chunks(self._transport, upload_id, wanted)
        except (RaloError, ConnectionError) as error:
            fault = error
        faults = [each for each in self._channel.gather(fault) if each is not None]
        if faults:
            raise faults[0]

    def _cut(self, chunk_bytes: int) -> None:
        """Bring this rank's chunks together, unless they were cut so before."""
        if self._cut_at == chunk_bytes:
            return
        self._chunks, self._cut_at = {}, chunk_bytes
        for index, start in enumerate(range(0, len(self), chunk_bytes)):
            pieces = list(_pieces(self._stretches, start, start + chunk_bytes))
            sender = _most(pieces)
            buffers = [self._exchanged(piece, sender) for piece in pieces]
            if sender == self._channel.rank:
                self._chunks[index] = wire.Body([each for each in buffers if each is not None])

    def _exchanged(self, piece: Stretch, sender: int) -> memoryview | None:
        """Return the bytes of a piece on the rank that sends them, which another may hold."""
        if piece.rank == sender:
            return piece.data
        if self._channel.rank == piece.rank:
            assert piece.data is not None
            self._channel.send(piece.data, sender)
        if self._channel.rank == sender:
            return self._channel.receive(piece.stop - piece.start, piece.rank)
        return None


def _stretches(header: Mapping[str, Any], mine: Encoded, channel: Channel) -> list[Stretch]:
    """Return the stretches of the whole body, in order."""
    known = channel.gather({name: (value.dtype, value.shape) for name, value in mine.items()})
    holders = {name: rank for rank, specs in enumerate(known) for name in sorted(specs)}
    prefix, extents = wire.lay_out(header, {name: known[holders[name]][name] for name in holders})
    found = [Stretch(0, len(prefix), 0, memoryview(prefix))]
    for name, (start, stop) in extents.items():
        data = wire.memory_of(mine[name]) if name in mine else None
        found.append(Stretch(start, stop, holders[name], data))
    return found


def _pieces(stretches: Sequence[Stretch], start: int, stop: int) -> Iterator[Stretch]:
    first = bisect_right(stretches, start, key=lambda stretch: stretch.stop)
    for stretch in itertools.islice(stretches, first, None):
        if stretch.start >= stop:
            return
        if stretch.start < stretch.stop:
            yield stretch.cut(start, stop)


def _most(pieces: Sequence[Stretch]) -> int:
    """Return the rank that holds most bytes of `pieces`."""
    held: defaultdict[int, int] = defaultdict(int)
    for piece in pieces:
        held[piece.rank] += piece.stop - piece.start
    return max(held, key=lambda rank: (held[rank], -rank))

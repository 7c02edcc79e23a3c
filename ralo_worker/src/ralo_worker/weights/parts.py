"""Fetches one file of a version by its sha256, from whichever source has the right bytes.

Bytes with another sha256 are never used, and the source that sent them is left alone for a while.
"""

import logging
from pathlib import Path

from ralo_core.data import WeightFile
from ralo_core.errors import RaloError
from ralo_worker.weights.room import new_file
from ralo_worker.weights.sources import Sources
from ralo_worker.weights.transfer import Transfer

log = logging.getLogger(__name__)

_TRIES = 3
_LIAR_SECONDS = 600.0
_STREAMS = 4
_RANGE_BYTES = 16 << 20


class PartFetcher:
    """Fetches from `sources`, over `streams` connections that take ranges of `range_bytes`."""

    def __init__(
        self, sources: Sources, *, streams: int = _STREAMS, range_bytes: int = _RANGE_BYTES
    ) -> None:
        self._sources = sources
        self._streams = streams
        self._range_bytes = range_bytes

    def fetch(self, file: WeightFile, target: Path) -> int:
        """Bring `file` to the path `target`; return the bytes that came over the network.

        Raises `ServerError` 404 if it was pruned, `NoRoomError` if the disk is too full,
        `ConnectionError` if the worker is stopping, and `RaloError` if the orchestrator itself
        gives wrong bytes three times. There is no file at `target` then.
        """
        with new_file(target, file.size) as descriptor:
            received = 0
            for _ in range(len(self._sources) - 1 + _TRIES):
                transfer = Transfer(
                    file,
                    descriptor,
                    self._sources,
                    streams=self._streams,
                    range_bytes=self._range_bytes,
                )
                digest = transfer.run()
                received += transfer.received
                if digest == file.sha256:
                    return received
                self._distrust(transfer, file)
            msg = (
                f"{file.name} ({file.sha256[:12]}) did not arrive whole: {self._sources.last.name} "
                f"gave other bytes {_TRIES} times; look at it with ralo doctor"
            )
            raise RaloError(msg)

    def _distrust(self, transfer: Transfer, file: WeightFile) -> None:
        """Leave alone who gave wrong bytes: all who gave some, for it may have been any of them."""
        log.warning("%s arrived damaged; fetching again", file.name)
        for source in transfer.used:
            self._sources.shun(source, _LIAR_SECONDS, f"wrong bytes of {file.name}")

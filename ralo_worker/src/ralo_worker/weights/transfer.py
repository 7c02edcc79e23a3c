"""One attempt at one file: ranges in parallel, each resumed where it broke off, hashed in order.

A range lies on the disk before the next one of its thread begins, so that disk and network are busy
together; the hash follows the ranges through the page cache, on a core of its own.
"""

import hashlib
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import requests
from urllib3.exceptions import HTTPError

from ralo_core.data import WeightFile
from ralo_core.errors import RaloError, ServerError
from ralo_worker.weights.sources import Source, SourceError, Sources

log = logging.getLogger(__name__)

_BLOCK = 1 << 20
_AWAY_SECONDS = 30.0
_BROKEN = (requests.RequestException, HTTPError, OSError)


class Transfer:
    """Brings `file` from `sources` into the open file `descriptor`, over `streams` connections
    that take ranges of `range_bytes`."""

    def __init__(
        self,
        file: WeightFile,
        descriptor: int,
        sources: Sources,
        *,
        streams: int,
        range_bytes: int,
    ) -> None:
        self.received = 0
        self.used: set[Source] = set()
        self._file = file
        self._descriptor = descriptor
        self._sources = sources
        self._streams = streams
        self._ranges = [
            (first, min(first + range_bytes, file.size) - 1)
            for first in range(0, file.size, range_bytes)
        ]
        self._given_up = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> str:
        """Fetch everything and return the sha256 of what arrived."""
        digest = hashlib.sha256()
        with ThreadPoolExecutor(self._streams) as pool:
            pending = [pool.submit(self._fetch, first, last) for first, last in self._ranges]
            try:
                for done, (first, last) in zip(pending, self._ranges, strict=True):
                    done.result()
                    self._hash(digest, first, last)
            except BaseException:
                self._given_up.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return digest.hexdigest()

    def _hash(self, digest: "hashlib._Hash", first: int, last: int) -> None:
        for start in range(first, last + 1, _BLOCK):
            digest.update(os.pread(self._descriptor, min(_BLOCK, last + 1 - start), start))

    def _fetch(self, first: int, last: int) -> None:
        """Bring one range, going on where a connection broke off."""
        transport, tries = self._sources.last.transport, 0
        while first <= last and not self._given_up.is_set():
            source, reply = self._open(first, last)
            with reply:
                got, fault = self._receive(reply, first, last)
            with self._lock:
                self.received += got
                self.used.add(source)
            first += got
            if fault is None:
                continue
            log.warning("%s broke off in %s: %s", source.name, self._file.name, fault)
            tries = 0 if got else tries + 1
            if not got:
                self._sources.shun(source, _AWAY_SECONDS, fault)
                transport.pause(transport.backoff.delay(tries))
            if transport.stopping.is_set():
                msg = f"stopped while {self._file.name} was fetched"
                raise ConnectionError(msg)
        os.fdatasync(self._descriptor)

    def _open(self, first: int, last: int) -> tuple[Source, requests.Response]:
        """Return the first source that sends anything; raises what the last one does."""
        *others, final = self._sources.usable()
        for source in others:
            try:
                return source, source.open(self._file, first, last)
            except (ConnectionError, RaloError, SourceError) as error:
                # A relay cannot know why it lacks a part; the orchestrator can.
                if not (isinstance(error, ServerError) and error.status == 404):
                    self._sources.shun(source, _AWAY_SECONDS, error)
        try:
            return final, final.open(self._file, first, last)
        except SourceError as error:
            raise RaloError(str(error)) from error

    def _receive(
        self, reply: requests.Response, first: int, last: int
    ) -> tuple[int, Exception | None]:
        """Write the body at its place; return its bytes and why it ended early, if it did."""
        at = first
        while at <= last and not self._given_up.is_set():
            try:
                # What has come, not a whole block: a reset takes no byte that was received along.
                block = reply.raw.read1(min(_BLOCK, last + 1 - at))
            except _BROKEN as error:
                return at - first, error
            if not block:
                return at - first, EOFError("the body ended early")
            os.pwrite(self._descriptor, block, at)
            at += len(block)
        return at - first, None

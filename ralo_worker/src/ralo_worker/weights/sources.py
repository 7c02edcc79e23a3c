"""Where parts come from: relays, nearest first, then the orchestrator, which is always the last.

The orchestrator may redirect to an object store; when that fails it is asked for the bytes
themselves. No source is trusted, except for where a range begins: the caller checks the bytes.
"""

import logging
import threading
import time
from collections.abc import Iterable

import attrs
import requests

from ralo_core.client import Backoff, Client, Transport
from ralo_core.data import WeightFile

log = logging.getLogger(__name__)

_ONE_TRY = Backoff(deadline=0.0)
_TIMEOUT = (5.0, 60.0)


class SourceError(Exception):
    """A source does not give what it was asked for; another one may."""


@attrs.frozen(kw_only=True)
class Source:
    """A server of parts. A `direct` one gives bytes and no address of an object store."""

    name: str
    transport: Transport
    direct: bool

    def open(self, file: WeightFile, first: int, last: int) -> requests.Response:
        """Return an HTTP response whose body is the bytes `first` to `last` of `file`.

        Raises `SourceError` for a body that is none, and what `Transport.request` raises.
        """
        headers = {"Accept-Encoding": "identity"}
        if (first, last) != (0, file.size - 1):
            headers["Range"] = f"bytes={first}-{last}"
        direct = {"X-Ralo-Direct": "1"} if self.direct else {}
        reply = self.transport.request(
            "GET",
            f"/weights/parts/{file.sha256}",
            headers={**headers, **direct},
            stream=True,
            redirects=False,
        )
        if reply.is_redirect:
            reply.close()
            reply = _elsewhere(reply.headers["Location"], headers)
        if "Range" in headers and not _begins_at(reply, first, file.size):
            reply.close()
            msg = f"{self.name} does not give the range that it is asked for"
            raise SourceError(msg)
        return reply


class Sources:
    """The sources of a worker: `relays`, then the orchestrator of `client`. Thread-safe."""

    def __init__(self, client: Client, relays: Iterable[str] = ()) -> None:
        home = client.transport
        self.last = Source(name=home.url, transport=home, direct=True)
        near = [(url, home.beside(url, _ONE_TRY)) for url in relays]
        self._all = (
            *(Source(name=url, transport=transport, direct=False) for url, transport in near),
            Source(name=f"object store of {home.url}", transport=home, direct=False),
            self.last,
        )
        self._shunned: dict[str, float] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._all)

    def usable(self) -> list[Source]:
        """Return the sources to try, in order; never empty."""
        now = time.monotonic()
        with self._lock:
            return [source for source in self._all if self._shunned.get(source.name, 0.0) <= now]

    def shun(self, source: Source, seconds: float, reason: object) -> None:
        """Leave a source alone for a while; the last one has no substitute."""
        if source is self.last:
            return
        with self._lock:
            log.warning("%s is left alone for %.0f s: %s", source.name, seconds, reason)
            self._shunned[source.name] = time.monotonic() + seconds


def _elsewhere(url: str, headers: dict[str, str]) -> requests.Response:
    """Ask the place that an orchestrator names; what is meant for the orchestrator stays here."""
    session = requests.Session()
    session.trust_env = False
    try:
        reply = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    except requests.RequestException as error:
        msg = f"{url.partition('?')[0]}: {type(error).__name__}"  # the rest of the URL is a secret
        raise SourceError(msg) from error
    if reply.status_code not in (200, 206):
        reply.close()
        msg = f"{url.partition('?')[0]}: HTTP {reply.status_code}"
        raise SourceError(msg)
    return reply


def _begins_at(reply: requests.Response, first: int, size: int) -> bool:
    span, _, total = reply.headers.get("Content-Range", "").partition("/")
    return reply.status_code == 206 and span.startswith(f"bytes {first}-") and total == str(size)

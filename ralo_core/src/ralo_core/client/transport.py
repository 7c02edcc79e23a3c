"""HTTP with patience: one request, retried until it is answered, with capped backoff and jitter.

What retrying can mend (no connection, 408, 429, 5xx) is retried, by default without end, and logged
once per change of state, not once per try; 410 raises `RunOver`; every other refusal raises
`ServerError` with the server's problem document.
"""

import logging
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import requests

from ralo_core.client.address import Address, FixedAddress
from ralo_core.errors import RaloError, RunOver, ServerError

log = logging.getLogger(__name__)

_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOT_STARTED = "there is no server.url yet"
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@attrs.frozen(kw_only=True)
class Backoff:
    """Wait ``first * factor**n`` seconds before try n + 1, at most `cap`, times a random
    factor in [0.5, 1]; give up after `deadline` seconds (None: never)."""

    first: float = 0.1
    factor: float = 2.0
    cap: float = 15.0
    deadline: float | None = None

    def delay(self, tries: int) -> float:
        """Return the seconds to wait after `tries` failures."""
        full = min(self.cap, self.first * self.factor ** min(tries - 1, 32))
        return full * random.uniform(0.5, 1.0)  # noqa: S311 (jitter needs no secrecy)


class Transport:
    """A thread-safe connection to the server at `address`. `stopping` ends waits early when set.

    Where the server does not answer, the address is asked again. `ca` is a PEM file of the
    authority that signed the server's certificate, where the system does not know it.
    """

    def __init__(
        self,
        address: Address,
        *,
        headers: Mapping[str, str] | None = None,
        ca: Path | None = None,
        backoff: Backoff | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        self.address = address
        self.headers = dict(headers or {})
        self._look_up()
        self._verify: str | bool = True if ca is None else str(ca)
        self.backoff = backoff or Backoff()
        self.stopping = stopping or threading.Event()
        self._local = threading.local()
        self._reachable = True

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        stream: bool = False,
        redirects: bool = True,
    ) -> requests.Response:
        """Send until the server replies with 2xx or 304, and return the reply.

        Without `redirects` a redirect is returned, not followed.

        Raises `RunOver`, `ServerError`, `RaloError` for a certificate that is not trusted, or
        `ConnectionError` once the deadline has passed or `stopping` is set. The caller makes the
        call idempotent: it may be sent many times.
        """
        started, tries = time.monotonic(), 0
        while True:
            tries += 1
            pause = None
            try:
                if not self.url:
                    raise requests.ConnectionError(_NOT_STARTED)
                response = self._session().request(
                    method,
                    self.url + path,
                    params=params,
                    json=json,
                    data=data,
                    headers={**self.headers, **(headers or {})},
                    timeout=(5.0, timeout),
                    stream=stream,
                    allow_redirects=redirects,
                )
                if response.status_code not in _RETRIED:
                    self._note_reachable(path)
                    return _checked(response)
                reason = f"HTTP {response.status_code} {_title(response)}"
                pause = _retry_after(response)
            except _BROKEN as error:
                if _UNTRUSTED in str(error):
                    raise _untrusted(self.url, error) from error
                reason = _short(error)
                self._local.session = None
                self._look_up()
            self._note_unreachable(path, reason)
            wait = self.backoff.delay(tries) if pause is None else pause
            self._wait(wait, started, f"{method} {self.url}{path}: {reason}")

    def beside(self, url: str, backoff: Backoff) -> "Transport":
        """Return a transport to another server that is shown and trusts the same."""
        address = FixedAddress(url, self.address.token)
        other = Transport(address, headers=self.headers, backoff=backoff, stopping=self.stopping)
        other._verify = self._verify
        return other

    def pause(self, seconds: float) -> None:
        """Sleep, but not once `stopping` is set."""
        self.stopping.wait(seconds)

    def _look_up(self) -> None:
        self.url = self.address.url
        token = self.address.token
        if token:
            self.headers["Authorization"] = f"Bearer {token}"

    def _session(self) -> requests.Session:
        session = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False  # a proxy variable must not reroute a worker's traffic
            session.verify = self._verify
            self._local.session = session
        return session

    def _wait(self, seconds: float, started: float, what: str) -> None:
        deadline = self.backoff.deadline
        if deadline is not None and time.monotonic() + seconds - started > deadline:
            msg = f"no answer within {deadline:g} s: {what}"
            raise ConnectionError(msg)
        if self.stopping.wait(seconds):
            msg = f"stopped while waiting for an answer: {what}"
            raise ConnectionError(msg)

    def _note_unreachable(self, path: str, reason: str) -> None:
        if self._reachable:
            where = self.url or self.address
            log.warning("%s does not answer %s (%s); retrying", where, path, reason)
        self._reachable = False

    def _note_reachable(self, path: str) -> None:
        if not self._reachable:
            log.info("%s answers again (%s)", self.url, path)
        self._reachable = True


def _untrusted(url: str, error: Exception) -> RaloError:
    msg = (
        f"the certificate of {url} is not trusted ({str(error).rpartition(_UNTRUSTED)[2][:120]}); "
        "for a private certificate authority give its PEM file with --ca or RALO_CA"
    )
    return RaloError(msg)


def _checked(response: requests.Response) -> requests.Response:
    if response.status_code < 400:
        return response
    problem = _problem(response)
    if response.status_code == 410:
        raise RunOver(str(problem.get("detail") or problem.get("title") or "the run is over"))
    raise ServerError(response.status_code, problem)


def _problem(response: requests.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {"title": response.reason, "detail": response.text[:300]}
    return document if isinstance(document, dict) else {"title": str(document)}


def _title(response: requests.Response) -> str:
    return str(_problem(response).get("title") or "")


def _retry_after(response: requests.Response) -> float | None:
    try:
        return max(0.05, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def _short(error: Exception) -> str:
    text = str(error)
    for marker in (
        _NOT_STARTED,
        "Connection refused",
        "timed out",
        "Name or service not known",
        "reset by peer",
    ):
        if marker in text:
            return marker
    return f"{type(error).__name__}: {text[:120]}"

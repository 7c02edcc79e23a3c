"""Errors as RFC 9457 problem documents, and the few that the protocol gives a meaning."""

import json
from http import HTTPStatus
from typing import Any

import falcon

from ralo_core.errors import ConfigError, WireError
from ralo_server.store.leases import NotTheOwner

CONTENT_TYPE = "application/problem+json"
_TYPES = {
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not-found",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.GONE: "run-over",
    HTTPStatus.LENGTH_REQUIRED: "length-required",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too-large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid",
    HTTPStatus.TOO_MANY_REQUESTS: "queue-full",
    HTTPStatus.SERVICE_UNAVAILABLE: "busy",
}
_REFUSED, _MISSING, _DISK_FULL = "gradient refused", "chunks missing", "disk full"
_TYPES_BY_TITLE = {
    _REFUSED: "gradient-refused",
    _MISSING: "chunks-missing",
    _DISK_FULL: "disk-full",
}
"""Problems that a worker must tell from others of the same status."""

_BUSY_SECONDS, _DISK_SECONDS = 1, 5


def run_over() -> falcon.HTTPGone:
    """The reply to every request for work when the run is finished."""
    return falcon.HTTPGone(title="the run is over", description="the run is finished")


def lease_lost(what: str) -> falcon.HTTPConflict:
    """The reply to work on a lease that ended."""
    return falcon.HTTPConflict(
        title="lease lost", description=f"{what}: it expired or was given to somebody else"
    )


def not_the_owner(error: NotTheOwner) -> falcon.HTTPForbidden:
    """The reply to a worker that quotes another worker's lease."""
    return falcon.HTTPForbidden(title="not your lease", description=str(error))


def abandoned(what: str) -> falcon.HTTPConflict:
    """The reply to work that was done with weights which a rollback left behind."""
    return falcon.HTTPConflict(
        title="version abandoned", description=f"{what}: the run was rolled back; take new work"
    )


def invalid(detail: str) -> falcon.HTTPUnprocessableEntity:
    """The reply to a body that is well-formed and wrong."""
    return falcon.HTTPUnprocessableEntity(title="invalid request", description=detail)


def gradient_refused(detail: str) -> falcon.HTTPUnprocessableEntity:
    """The reply to a well-formed gradient whose values must not be used."""
    return falcon.HTTPUnprocessableEntity(title=_REFUSED, description=detail)


def chunks_missing(detail: str) -> falcon.HTTPConflict:
    """The reply to a finalize that comes too early: declare again to learn what is missing."""
    return falcon.HTTPConflict(title=_MISSING, description=detail)


def queue_full(detail: str) -> falcon.HTTPTooManyRequests:
    """The reply where the learner must catch up first."""
    return falcon.HTTPTooManyRequests(
        title="queue full", description=detail, retry_after=_BUSY_SECONDS
    )


def busy(detail: str) -> falcon.HTTPServiceUnavailable:
    """The reply where other requests must end first."""
    return falcon.HTTPServiceUnavailable(
        title="busy", description=detail, retry_after=_BUSY_SECONDS
    )


def disk_full() -> falcon.HTTPServiceUnavailable:
    """The reply where nothing more may be stored; nothing is deleted to make room."""
    return falcon.HTTPServiceUnavailable(
        title=_DISK_FULL,
        description="the orchestrator's disk is down to server.min_free_mb; waiting for space",
        retry_after=_DISK_SECONDS,
    )


def serialise(request: falcon.Request, response: falcon.Response, error: falcon.HTTPError) -> None:
    """Write `error` as a problem document."""
    status = HTTPStatus(error.status_code)
    by_status = _TYPES.get(status, status.phrase.lower().replace(" ", "-"))
    document: dict[str, Any] = {
        "type": f"urn:ralo:{_TYPES_BY_TITLE.get(error.title or '', by_status)}",
        "title": error.title or status.phrase,
        "status": error.status_code,
    }
    if error.description:
        document["detail"] = error.description
    response.content_type = CONTENT_TYPE
    response.data = json.dumps(document, ensure_ascii=False).encode()


def refuse_bad_data(
    request: falcon.Request, response: falcon.Response, error: Exception, params: Any
) -> None:
    """Turn a fault of the client's data into 422 with its text."""
    if isinstance(error, ConfigError):
        raise invalid("; ".join(error.faults)) from error
    raise invalid(str(error)) from error


BAD_DATA = (ConfigError, WireError)

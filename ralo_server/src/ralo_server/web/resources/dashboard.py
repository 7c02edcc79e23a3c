"""The dashboard's page and the files that it loads."""

import attrs
import falcon

from ralo_server.web.assets import Asset, Assets
from ralo_server.web.responses.compression import takes_gzip

_PAGE = "index.html"
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept-Encoding",
    # Asked for again each time, answered 304: page and scripts are always of one release.
    "Cache-Control": "no-cache",
}


@attrs.frozen
class Page:
    """``GET /``."""

    assets: Assets

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the page; it holds no data of the run."""
        _send(request, response, self.assets.get(_PAGE))


@attrs.frozen
class StaticFile:
    """``GET /static/{path}``."""

    assets: Assets

    def on_get(self, request: falcon.Request, response: falcon.Response, path: str) -> None:
        """Give a file of the dashboard."""
        _send(request, response, self.assets.get(path))


def _send(request: falcon.Request, response: falcon.Response, asset: Asset | None) -> None:
    if asset is None:
        raise falcon.HTTPNotFound(title="no such file", description="not part of the dashboard")
    response.set_headers(_HEADERS)
    body = asset.gzipped if asset.gzipped is not None and takes_gzip(request) else None
    # Another encoding is another representation, and has a tag of its own.
    tag = asset.etag if body is None else f"{asset.etag}-gzip"
    response.etag = tag
    if any(known in ("*", tag) for known in request.if_none_match or ()):
        response.status = falcon.HTTP_304
        return
    response.content_type = asset.content_type
    if body is not None:
        response.set_header("Content-Encoding", "gzip")
    response.data = asset.content if body is None else body

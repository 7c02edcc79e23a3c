"""JSON that is valid whatever a model wrote, compressed for those who take it so."""

import gzip
import json
import math
from collections.abc import Mapping
from typing import Any

import falcon

from ralo_server.web.responses.compression import takes_gzip

_WORTH_IT = 1024
_LEVEL = 5


def json_text(document: Any) -> str:
    """Return JSON in ASCII: whatever a model wrote, surrogates and NULs included, comes out valid.

    ``<`` is escaped too, so that the text may stand in a page. What is no finite number is null.
    """
    try:
        text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(document), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def send_json(request: falcon.Request, response: falcon.Response, document: Any) -> None:
    """Answer with `document`, compressed where that helps and the client takes it."""
    body = json_text(document).encode("ascii")
    response.content_type = falcon.MEDIA_JSON
    response.append_header("Vary", "Accept-Encoding")
    response.cache_control = ("no-store",)
    if len(body) > _WORTH_IT and takes_gzip(request):
        response.set_header("Content-Encoding", "gzip")
        body = gzip.compress(body, _LEVEL, mtime=0)
    response.data = body

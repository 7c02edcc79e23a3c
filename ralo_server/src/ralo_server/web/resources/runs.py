"""The runs in the same directory, to be compared with this one."""

import attrs
import falcon

from ralo_core.messages.runs import SiblingRuns
from ralo_core.structuring import unstructure
from ralo_server.store.database import DAMAGED
from ralo_server.web.responses.json_response import send_json
from ralo_server.web.responses.series_json import series_json, series_query
from ralo_server.web.services import Services


@attrs.frozen
class Runs:
    """``GET /runs``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give every run beside this one, and this one, in a few numbers."""
        send_json(
            request, response, unstructure(SiblingRuns(runs=tuple(self.services.siblings.listed())))
        )


@attrs.frozen
class RunSeries:
    """``GET /runs/series``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give series of any of these runs, as ``/series`` does of this one."""
        query, name = series_query(request), request.get_param("run", required=True)
        history = self.services.siblings.history(name)
        if history is None:
            raise falcon.HTTPNotFound(
                title="no such run", description=f"{name[:80]!r} is none of those that /runs names"
            )
        try:
            document = series_json(history, query)
        except DAMAGED as error:
            raise falcon.HTTPNotFound(
                title="run unreadable", description=f"state.db of {name!r}: {error}"
            ) from error
        send_json(request, response, document)

"""The metrics of the steps as series for charts."""

import attrs
import falcon

from ralo_core.messages.series import MetricNames as Names
from ralo_core.structuring import unstructure
from ralo_server.web.responses.json_response import send_json
from ralo_server.web.responses.series_json import series_json, series_query
from ralo_server.web.services import Services


@attrs.frozen
class MetricSeries:
    """``GET /series``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give some metrics of all steps, or of those after one, evenly thinned."""
        send_json(request, response, series_json(self.services.history, series_query(request)))


@attrs.frozen
class MetricNames:
    """``GET /series/names``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the names of all metrics that any step has."""
        names = Names(names=tuple(self.services.history.names()))
        send_json(request, response, unstructure(names))

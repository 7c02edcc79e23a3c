"""The run for Prometheus."""

import attrs
import falcon
from prometheus_client import CONTENT_TYPE_LATEST

from ralo_server.web.responses.prometheus_text import exposition
from ralo_server.web.services import Services


@attrs.frozen
class PrometheusMetrics:
    """``GET /metrics``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the state of the run and the metrics of its last step."""
        store = self.services.store
        last = [metrics for _, metrics in store.steps.after(0, 1)]
        response.content_type = CONTENT_TYPE_LATEST
        response.data = exposition(self.services.current.now(), last[0] if last else {})

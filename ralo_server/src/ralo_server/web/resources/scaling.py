"""The scaling law of the run's evaluations."""

import attrs
import falcon

from ralo_core.messages.scaling import Fits
from ralo_core.structuring import structure_reply, unstructure
from ralo_server.store.views.law_points import ACCURACY, HELD_OUT, points
from ralo_server.web.services import Services

_WAIT_SECONDS = 30.0


@attrs.frozen
class EvalFit:
    """``GET /eval/fit``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the law of one metric of one benchmark, or why there is none; 204 if it takes
        longer than a request may, then ask again."""
        benchmark = request.get_param("benchmark", default=HELD_OUT)
        metric = request.get_param("metric", default=ACCURACY)
        services, curve = self.services, (benchmark, metric)
        measured = points(services.store.database, benchmark, metric)
        found = services.waiting.until(
            ("fit", *curve, len(measured)),
            lambda: services.fits.get(curve, measured),
            _WAIT_SECONDS,
            response,
        )
        if found is not None:
            fit = {"benchmark": benchmark, "metric": metric, "points": measured, **found}
            response.media = unstructure(structure_reply({"fits": [fit]}, Fits))

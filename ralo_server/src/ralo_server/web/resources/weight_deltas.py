"""The way from one weight version to another by deltas. Their files are fetched like all others."""

import attrs
import falcon

from ralo_core.messages.weights import Deltas
from ralo_core.structuring import unstructure
from ralo_server.models.delta_chains import chain_from
from ralo_server.web.services import Services

_MOST_VERSIONS = 1 << 31


@attrs.frozen
class WeightDeltas:
    """``GET /weights/delta``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the deltas that lead from version `from` to version `to`, in their order."""
        start = request.get_param_as_int("from", required=True, max_value=_MOST_VERSIONS)
        end = request.get_param_as_int("to", required=True, max_value=_MOST_VERSIONS)
        versions = self.services.store.versions
        version = versions.get(end)
        links = chain_from(versions, start, version) if version else ()
        if not links:
            raise falcon.HTTPNotFound(
                title="no delta",
                description=f"no deltas from version {start} to {end} that are smaller than it",
            )
        response.media = unstructure(Deltas(links=tuple(links)))

"""Rollout trees for those who look at what the model wrote."""

import attrs
import falcon

from ralo_core.messages.rollouts import RolloutSummaries
from ralo_core.structuring import structure_reply, unstructure
from ralo_server.web.responses.json_response import send_json
from ralo_server.web.responses.rollout_message import rollout_message
from ralo_server.web.services import Services

_DEFAULT, _MOST = 50, 500
_LARGEST = 1 << 53
"""Numbers beyond are no tree's, and too large for the store's integers or a page's."""


@attrs.frozen
class RolloutList:
    """``GET /rollouts``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the newest trees in a few numbers each."""
        rollouts = self.services.store.rollouts.newest(
            request.get_param_as_int("limit", default=_DEFAULT, min_value=1, max_value=_MOST),
            before=request.get_param_as_int("before", max_value=_LARGEST),
            problem=request.get_param("problem"),
            step=request.get_param_as_int("step", max_value=_LARGEST),
        )
        reply = structure_reply({"rollouts": rollouts}, RolloutSummaries)
        send_json(request, response, unstructure(reply))


@attrs.frozen
class RolloutDocument:
    """``GET /rollouts/{number}``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        """Give a whole tree; 404 where it is not kept."""
        services = self.services
        stored = services.store.rollouts.find(number) if number < _LARGEST else None
        if stored is None:
            raise falcon.HTTPNotFound(
                title="no such rollout",
                description=f"tree {number} was skipped, is not kept any more ([rollouts] says "
                "what is), or never was",
            )
        rollout = rollout_message(stored, services.texts, services.advantages)
        send_json(request, response, unstructure(rollout))

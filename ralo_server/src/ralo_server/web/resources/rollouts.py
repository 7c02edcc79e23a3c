"""Rollout trees for those who look at what the model wrote."""

import attrs
import falcon

from ralo_server.store.rollouts import Rollouts
from ralo_server.web.advantages import Advantages
from ralo_server.web.json_answers import send_json
from ralo_server.web.rollout_json import rollout_json
from ralo_server.web.services import Services
from ralo_server.web.token_texts import TokenTexts

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
        send_json(request, response, {"rollouts": rollouts})


class RolloutDocument:
    """``GET /rollouts/{number}``."""

    def __init__(self, services: Services) -> None:
        self._rollouts: Rollouts = services.store.rollouts
        self._texts = TokenTexts(services.store.directory.model / "tokenizer.json")
        self._advantages = Advantages(services.config)

    def on_get(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        """Give a whole tree; 404 where it is not kept."""
        stored = self._rollouts.find(number) if number < _LARGEST else None
        if stored is None:
            raise falcon.HTTPNotFound(
                title="no such rollout",
                description=f"tree {number} was skipped, is not kept any more ([rollouts] says "
                "what is), or never was",
            )
        send_json(request, response, rollout_json(stored, self._texts, self._advantages))

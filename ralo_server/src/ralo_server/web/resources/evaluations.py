"""Evaluations: asked for on demand, their results, the responses behind them."""

import attrs
import falcon

from ralo_core.errors import WireError
from ralo_core.messages.evaluations import (
    EvalRequest,
    EvaluationRows,
    Evaluations,
    RequestedEvaluations,
)
from ralo_core.structuring import structure_reply, unstructure
from ralo_server.evaluation.results import read_rows
from ralo_server.store.evaluation.evaluations import EvaluationUnavailableError
from ralo_server.web.requests.bodies import read_json
from ralo_server.web.responses.problem_documents import invalid, run_over
from ralo_server.web.services import Services


@attrs.frozen
class EvalRequests:
    """``POST /eval/request``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Ask benchmarks of a version; what was asked before is not asked again."""
        body = read_json(request, EvalRequest)
        if self.services.finished:
            raise run_over()
        try:
            asked = self.services.store.evaluations.request(body.benchmarks, body.version)
        except EvaluationUnavailableError as error:
            raise invalid(str(error)) from error
        response.media = unstructure(structure_reply({"evaluations": asked}, RequestedEvaluations))


@attrs.frozen
class EvalResults:
    """``GET /eval/results``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the results there are, of one benchmark or version where they are named."""
        results = self.services.store.evaluations.results(
            request.get_param("benchmark"), request.get_param_as_int("version")
        )
        response.media = unstructure(structure_reply({"evaluations": results}, Evaluations))


@attrs.frozen
class EvalRows:
    """``GET /eval/rows``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the responses of one evaluation; 404 where there is no result of it."""
        benchmark = request.get_param("benchmark", required=True)
        version = request.get_param_as_int("version", required=True)
        store = self.services.store
        if not store.evaluations.results(benchmark, version):
            raise _no_rows(f"there is no result of {benchmark} for version {version}")
        try:
            stored = read_rows(store.directory, version, benchmark)
            rows = structure_reply({"rows": stored}, EvaluationRows)
        except (OSError, ValueError, WireError) as error:
            raise _no_rows(f"the responses are gone: {error}; ralo doctor tells more") from error
        response.media = unstructure(rows)


def _no_rows(detail: str) -> falcon.HTTPNotFound:
    return falcon.HTTPNotFound(title="no such responses", description=detail)

"""The falcon app: the table of routes with who may call them, and what all of them share.

There is one resource class per noun in `web.resources`. `docs/openapi.yaml` documents the same
routes, and a test compares them.
"""

from collections.abc import Mapping
from typing import Any

import attrs
import falcon

from ralo_server.web.access import (
    ANYBODY,
    NOBODY,
    SAMPLERS,
    TRAINERS,
    VIEWERS,
    WORKERS,
    Roles,
    TokenCheck,
)
from ralo_server.web.assets import Assets
from ralo_server.web.resources.compute import ComputeReports, ComputeStats
from ralo_server.web.resources.dashboard import Page, StaticFile
from ralo_server.web.resources.eval_jobs import EvalClaim, EvalReports
from ralo_server.web.resources.evaluations import EvalRequests, EvalResults, EvalRows
from ralo_server.web.resources.events import Events
from ralo_server.web.resources.gradients import (
    GradientChunk,
    GradientDeclare,
    GradientFinalize,
)
from ralo_server.web.resources.leases import LeaseRelease, LeaseRenew
from ralo_server.web.resources.problems import ProblemQueue
from ralo_server.web.resources.prometheus import PrometheusMetrics
from ralo_server.web.resources.rollouts import RolloutDocument, RolloutList
from ralo_server.web.resources.run import ConfigDocument, Health, RunConfig, Stats, Stop
from ralo_server.web.resources.runs import Runs, RunSeries
from ralo_server.web.resources.scaling import EvalFit
from ralo_server.web.resources.series import MetricNames, MetricSeries
from ralo_server.web.resources.trees import BatchQueue, TreeUpload
from ralo_server.web.resources.weight_deltas import WeightDeltas
from ralo_server.web.resources.weights import (
    WeightFileDownload,
    WeightManifest,
    WeightParts,
    WeightVersions,
)
from ralo_server.web.resources.workers import WorkerHeartbeat, WorkerLeave, WorkerRegister
from ralo_server.web.responses import problem_documents
from ralo_server.web.services import Services


@attrs.frozen
class EndOverdue:
    """Falcon middleware: before a request is answered, whatever time has ended in the run ends."""

    services: Services

    def process_resource(
        self,
        request: falcon.Request,
        response: falcon.Response,
        resource: object,
        params: Mapping[str, Any],
    ) -> None:
        """Expire leases, uploads and workers, at most once a second."""
        self.services.end_overdue()


def routes(services: Services) -> Mapping[str, tuple[object, Roles]]:
    """Return the resource of every path, and the roles that may call it besides the admin."""
    register, heartbeat = WorkerRegister(services), WorkerHeartbeat(services)
    assets = Assets()
    return {
        "/": (Page(assets), ANYBODY),
        "/static/{path:path}": (StaticFile(assets), ANYBODY),
        "/health": (Health(services), ANYBODY),
        "/config": (ConfigDocument(services), WORKERS),
        "/stats": (Stats(services), VIEWERS),
        "/run/config": (RunConfig(services), VIEWERS),
        "/runs": (Runs(services), VIEWERS),
        "/runs/series": (RunSeries(services), VIEWERS),
        "/series": (MetricSeries(services), VIEWERS),
        "/series/names": (MetricNames(services), VIEWERS),
        "/rollouts": (RolloutList(services), VIEWERS),
        "/rollouts/{number:int}": (RolloutDocument(services), VIEWERS),
        "/events": (Events(services), VIEWERS),
        "/metrics": (PrometheusMetrics(services), VIEWERS),
        "/stop": (Stop(services), NOBODY),
        "/worker/register": (register, WORKERS),
        "/worker/heartbeat": (heartbeat, WORKERS),
        # For trainers of others that speak the protocol by its older names; ours do not call them.
        "/trainer/register": (register, TRAINERS),
        "/trainer/heartbeat": (heartbeat, TRAINERS),
        "/worker/leave": (WorkerLeave(services), WORKERS),
        "/problem/get": (ProblemQueue(services), SAMPLERS),
        "/upload": (TreeUpload(services), SAMPLERS),
        "/get": (BatchQueue(services), TRAINERS),
        # For workers of others that send no heartbeats; with ours a heartbeat renews.
        "/lease/renew": (LeaseRenew(services), WORKERS),
        "/lease/release": (LeaseRelease(services), WORKERS),
        "/gradient/declare": (GradientDeclare(services), TRAINERS),
        "/gradient/upload_chunk": (GradientChunk(services), TRAINERS),
        "/gradient/upload_finalize": (GradientFinalize(services), TRAINERS),
        "/weights/version": (WeightVersions(services), WORKERS | VIEWERS),
        "/weights/manifest": (WeightManifest(services), WORKERS | VIEWERS),
        "/weights/delta": (WeightDeltas(services), WORKERS | VIEWERS),
        # For whoever wants a file of a version by its name, with curl for example; our workers
        # fetch parts by their sha256, which relays can keep.
        "/weights/download": (WeightFileDownload(services), WORKERS),
        "/weights/parts/{sha256}": (WeightParts(services), WORKERS),
        "/eval/job/claim": (EvalClaim(services), SAMPLERS),
        "/eval/job/report": (EvalReports(services), SAMPLERS),
        "/eval/results": (EvalResults(services), VIEWERS),
        "/eval/rows": (EvalRows(services), VIEWERS),
        "/eval/request": (EvalRequests(services), NOBODY),
        "/eval/fit": (EvalFit(services), VIEWERS),
        "/compute/report": (ComputeReports(services), WORKERS),
        "/compute/stats": (ComputeStats(services), VIEWERS),
    }


def make_app(
    services: Services, tokens: Mapping[str, str] | None = None
) -> "falcon.App[falcon.Request, falcon.Response]":
    """Return the WSGI app of one run; with `tokens` (role -> token) requests need one.

    Tokens that are asked for and not there let nobody in.
    """
    table = routes(services)
    allowed = {path: roles for path, (_, roles) in table.items()}
    # Tokens are checked first: a stranger's request makes no work.
    middleware: list[TokenCheck | EndOverdue] = [EndOverdue(services)]
    if tokens is not None:
        middleware.insert(0, TokenCheck(tokens, allowed))
    app = falcon.App(middleware=middleware)
    app.set_error_serializer(problem_documents.serialise)
    for kind in problem_documents.BAD_DATA:
        app.add_error_handler(kind, problem_documents.refuse_bad_data)
    for path, (resource, _) in table.items():
        app.add_route(path, resource)
    return app

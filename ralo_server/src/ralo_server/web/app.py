"""The falcon app: the table of routes, and what all of them share.

Neighbours: one resource class per noun in `web.resources`; `docs/openapi.yaml` documents the
same routes and a test compares them.
"""

import falcon

from ralo_server.web import problems_json
from ralo_server.web.resources.evaluations import EvalClaim, EvalReports, EvalResults
from ralo_server.web.resources.gradients import (
    GradientChunk,
    GradientDeclare,
    GradientFinalize,
)
from ralo_server.web.resources.leases import LeaseRelease, LeaseRenew
from ralo_server.web.resources.problems import ProblemQueue
from ralo_server.web.resources.run import ConfigDocument, Health, Stats, Stop
from ralo_server.web.resources.trees import BatchQueue, TreeUpload
from ralo_server.web.resources.weights import WeightFileDownload, WeightManifest, WeightVersions
from ralo_server.web.resources.workers import WorkerHeartbeat, WorkerRegister
from ralo_server.web.services import Services


def make_app(services: Services) -> "falcon.App[falcon.Request, falcon.Response]":
    """Return the WSGI app of one run."""
    app = falcon.App()
    app.set_error_serializer(problems_json.serialise)
    for kind in problems_json.BAD_DATA:
        app.add_error_handler(kind, problems_json.refuse_bad_data)
    register, heartbeat = WorkerRegister(services), WorkerHeartbeat(services)
    for path, resource in {
        "/health": Health(services),
        "/config": ConfigDocument(services),
        "/stats": Stats(services),
        "/stop": Stop(services),
        "/worker/register": register,
        "/trainer/register": register,
        "/worker/heartbeat": heartbeat,
        "/trainer/heartbeat": heartbeat,
        "/problem/get": ProblemQueue(services),
        "/upload": TreeUpload(services),
        "/get": BatchQueue(services),
        "/lease/renew": LeaseRenew(services),
        "/lease/release": LeaseRelease(services),
        "/gradient/declare": GradientDeclare(services),
        "/gradient/upload_chunk": GradientChunk(services),
        "/gradient/upload_finalize": GradientFinalize(services),
        "/weights/version": WeightVersions(services),
        "/weights/manifest": WeightManifest(services),
        "/weights/download": WeightFileDownload(services),
        "/eval/job/claim": EvalClaim(services),
        "/eval/job/report": EvalReports(services),
        "/eval/results": EvalResults(services),
    }.items():
        app.add_route(path, resource)
    return app

"""Evaluation jobs and their results."""

import attrs
import falcon

from ralo_server.store.evaluations import DUPLICATE, LOST
from ralo_server.store.statistics import evaluations
from ralo_server.web.bodies import read_json, request_key
from ralo_server.web.ownership import check_owner
from ralo_server.web.problems_json import invalid, lease_lost, run_over
from ralo_server.web.requests import Claim, EvalReport
from ralo_server.web.services import Services


@attrs.frozen
class EvalClaim:
    """``POST /eval/job/claim``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Lease the oldest job; 204 if there is none."""
        body = read_json(request, Claim)
        if self.services.finished:
            raise run_over()
        self.services.take_back_lost_leases()
        jobs = self.services.store.evaluations
        job = jobs.claim(body.worker_id, request_key(request))
        if job is None:
            response.status = falcon.HTTP_204
            return
        response.media = {
            "job_id": job.id,
            "lease_id": job.lease_id,
            "version": job.version,
            "problems": jobs.held_out(),
        }


@attrs.frozen
class EvalReports:
    """``POST /eval/job/report``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Store which problems were solved."""
        body = read_json(request, EvalReport)
        check_owner(self.services, request, body.lease_id)
        jobs = self.services.store.evaluations
        expected = len(jobs.held_out())
        if len(body.correct) != expected:
            raise invalid(f"'correct' must have {expected} entries, got {len(body.correct)}")
        outcome = jobs.report(body.job_id, body.lease_id, body.correct)
        if outcome == LOST:
            raise lease_lost(f"evaluation {body.job_id}")
        if outcome != DUPLICATE:
            version = int(body.job_id.removeprefix("eval-"))
            accuracy = sum(body.correct) / expected
            self.services.notify(
                "ralo_eval_reported", version=version, metrics={"accuracy": accuracy}
            )
        response.media = {"accepted": True, "duplicate": outcome == DUPLICATE}


@attrs.frozen
class EvalResults:
    """``GET /eval/results``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give all reported evaluations."""
        response.media = {"evaluations": evaluations(self.services.store.database)}

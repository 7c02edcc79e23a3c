"""Evaluation shards that samplers lease and report."""

import attrs
import falcon

from ralo_core.messages.accepted import Accepted
from ralo_core.messages.evaluations import Claim, EvalReport, EvaluationShard
from ralo_core.structuring import unstructure
from ralo_server.store.evaluation.shards import DUPLICATE, LOST
from ralo_server.web.requests.bodies import MIB, read_json, request_key
from ralo_server.web.requests.ownership import check_owner
from ralo_server.web.responses.problem_documents import invalid, lease_lost, run_over
from ralo_server.web.services import Services


@attrs.frozen
class EvalClaim:
    """``POST /eval/job/claim``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Lease the next shard; 204 if there is none."""
        body = read_json(request, Claim)
        if self.services.finished:
            raise run_over()
        job = self.services.store.shards.claim(body.worker_id, request_key(request), body.version)
        if job is None:
            response.status = falcon.HTTP_204
            return
        shard = EvaluationShard(
            job_id=job.id,
            lease_id=job.lease_id,
            version=job.version,
            benchmark=job.benchmark,
            response_settings=job.response_settings,
            problems=tuple(job.items),
        )
        response.media = unstructure(shard)


@attrs.frozen
class EvalReports:
    """``POST /eval/job/report``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Store the responses to a shard; with those to the last one comes the result."""
        body = read_json(request, EvalReport, self.services.server.max_body_mb * MIB)
        check_owner(self.services, request, body.lease_id)
        self._check(body)
        shards = self.services.store.shards
        outcome, result = shards.report(
            body.job_id, body.lease_id, body.responses, self.services.conclude
        )
        if outcome == LOST:
            raise lease_lost(f"evaluation {body.job_id}")
        if result is not None:
            metrics = {name: estimate["value"] for name, estimate in result["metrics"].items()}
            self.services.notify(
                "ralo_eval_reported",
                version=result["version"],
                benchmark=result["benchmark"],
                metrics=metrics,
            )
        response.media = unstructure(Accepted(accepted=True, duplicate=outcome == DUPLICATE))

    def _check(self, body: EvalReport) -> None:
        size = self.services.store.shards.size(body.job_id)
        if size is None:
            return  # a rollback has ended it, and its lease
        items, samples = size
        if len(body.responses) != items:
            raise invalid(f"'responses' must have {items} entries, got {len(body.responses)}")
        for place, responses in enumerate(body.responses):
            if responses.counts() != {samples}:
                found = sorted(responses.counts())
                raise invalid(f"responses[{place}]: every list must have {samples}, got {found}")

"""The problem queue."""

import attrs
import falcon

from ralo_core.data import Problem
from ralo_core.messages.problems import LeasedProblem, LeasedProblems
from ralo_core.structuring import structure, unstructure
from ralo_server.web.requests.bodies import request_key, wait_of, worker_of
from ralo_server.web.responses.problem_documents import run_over
from ralo_server.web.services import Services


@attrs.frozen
class ProblemQueue:
    """``GET /problem/get``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Lease problems, waiting for the first; 204 if there is none in time."""
        worker, key = worker_of(request), request_key(request)
        count = request.get_param_as_int("count", default=1, min_value=1)
        wait = wait_of(request)

        def ask() -> tuple[LeasedProblem, ...] | None:
            if self.services.finished:
                raise run_over()
            if not self.services.hands_out_problems:
                return None
            # Asked again and again while a worker waits: what comes back meanwhile is for it.
            self.services.end_overdue()
            queue = self.services.store.problems
            granted = queue.lease(worker, count, self.services.source, key)
            leased = [
                LeasedProblem(problem=structure(body, Problem), lease_id=lease, expires=expires)
                for body, lease, expires in granted
            ]
            return tuple(leased) or None

        problems = self.services.waiting.until("problems", ask, wait, response)
        if problems is not None:
            response.media = unstructure(LeasedProblems(problems=problems))

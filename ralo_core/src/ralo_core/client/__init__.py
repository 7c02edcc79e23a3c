"""The HTTP client that workers and the command line use."""

from ralo_core.client.api import Client, EvalJob, LeasedProblem
from ralo_core.client.transport import Backoff, Transport

__all__ = ["Backoff", "Client", "EvalJob", "LeasedProblem", "Transport"]

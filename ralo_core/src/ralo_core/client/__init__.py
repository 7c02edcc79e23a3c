"""The HTTP client that workers and the command line use."""

from ralo_core.client.api import Client, EvaluationShard, LeasedProblem
from ralo_core.client.connection import Connection
from ralo_core.client.gradients import (
    GRADIENT_REFUSED,
    GradientBody,
    WholeBody,
    digests_of,
    send_chunks,
)
from ralo_core.client.transport import Backoff, Transport

__all__ = [
    "GRADIENT_REFUSED",
    "Backoff",
    "Client",
    "Connection",
    "EvaluationShard",
    "GradientBody",
    "LeasedProblem",
    "Transport",
    "WholeBody",
    "digests_of",
    "send_chunks",
]

"""A gradient over given micro-batches, added up and divided as a trainer of one rank does."""

from collections.abc import Iterable

from torch import Tensor

from ralo_core.protocols import Loss
from ralo_worker.trainer.compute.gradient_sums import GradientSums
from ralo_worker.trainer.compute.objective import Objective
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.layout.micro_batches import MicroBatch
from ralo_worker.trainer.parallel.group import Group
from ralo_worker.trainer.parallel.reduction import owners_of, reduced


def gradient_of(policy: Policy, loss: Loss, batches: Iterable[MicroBatch]) -> dict[str, Tensor]:
    """Return the mean gradient of `loss` by parameter name."""
    gradients, group = GradientSums(policy), Group()
    totals = Objective(policy=policy, gradients=gradients, loss=loss).accumulate(batches)
    return reduced(gradients, group, owners_of(gradients, group), totals.normaliser)

"""Shows a whole batch to the corrections that must see it before they weigh any part.

It costs a forward pass, and nothing where no correction asks for it. Computing and showing are
two steps, so that ranks which each compute a share can show all of it to every one. Neighbours:
`objective` calls it before `gradient`, with the same packs.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ralo_core.protocols import Correction, LossBatch, SurveyingCorrection
from ralo_worker.trainer.compute.policy import Policy, on_device
from ralo_worker.trainer.layout.micro_batches import MicroBatch

Part = tuple[Tensor, LossBatch]
"""The log-ratios of a micro-batch, float32[R, C], and its rows, all on the CPU."""


def asks(corrections: Iterable[Correction]) -> bool:
    """Say whether any of `corrections` must see the whole batch."""
    return any(isinstance(each, SurveyingCorrection) for each in corrections)


@torch.no_grad()
def surveyed(policy: Policy, batches: Iterable[MicroBatch]) -> list[Part]:
    """Return what is to be shown of `batches`."""
    parts = []
    for batch in batches:
        logprobs, _ = policy(on_device(batch, policy.device))
        parts.append((batch.loss_batch.log_ratio(logprobs.cpu()), batch.loss_batch))
    return parts


def show(parts: Sequence[Part], corrections: Iterable[Correction]) -> None:
    """Let those of `corrections` that survey see the whole batch."""
    for correction in corrections:
        if isinstance(correction, SurveyingCorrection):
            correction.survey(parts)

"""Shows a whole batch to the corrections that must see it before they weigh any part.

Neighbours: `runtime` calls it before `gradient`, with the same batch cut in the same way. It costs
a forward pass, and nothing where no correction asks for it.
"""

from collections.abc import Iterable
from typing import Any

import torch

from ralo_core.protocols import Correction, SurveyingCorrection
from ralo_worker.trainer.micro_batches import MicroBatch
from ralo_worker.trainer.policy import on_device, policy_logprobs


@torch.no_grad()
def survey(model: Any, batches: Iterable[MicroBatch], corrections: Iterable[Correction]) -> None:
    """Let those of `corrections` that survey see the log-ratios of all `batches`."""
    asking = [each for each in corrections if isinstance(each, SurveyingCorrection)]
    if not asking:
        return
    parts = []
    for batch in batches:
        batch = on_device(batch, model.device)
        log_ratio = batch.loss_batch.log_ratio(policy_logprobs(model, batch))
        parts.append((log_ratio, batch.loss_batch))
    for correction in asking:
        correction.survey(parts)

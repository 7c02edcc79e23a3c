"""The scaling law as the first implementation fitted it: Adam on the mean squared error, in compute
as it is. Written anew from a description of it.

A - R0, C_mid and B are softplus of free numbers, which begin at the range of the values, at the
median compute and at 2; R0 begins at the smallest value. 1,500 steps with learning rate 0.05, all
points at once, float64.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import softplus

from ralo_server.scaling.law import Law

STEPS, RATE = 1500, 0.05


def adam_law(compute: npt.ArrayLike, values: npt.ArrayLike) -> Law:
    """Return the law through `values` at `compute`, both [N]."""
    spent, measured = (
        torch.tensor(np.asarray(each), dtype=torch.float64) for each in (compute, values)
    )
    begin = torch.stack(
        [measured.min(), measured.max() - measured.min(), spent.median(), torch.tensor(2.0)]
    ).double()
    free = begin.clone().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        height, middle, steepness = softplus(free[1:])
        curve = free[0] + height / (1 + (middle / spent) ** steepness)
        ((curve - measured) ** 2).mean().backward()
        optimizer.step()
    height, middle, steepness = softplus(free[1:]).detach().tolist()
    start = float(free[0].detach())
    return Law(A=start + height, R0=start, C_mid=middle, B=steepness)

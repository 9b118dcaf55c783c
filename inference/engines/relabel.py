"""`relabel`: undo label switching in draws of a posterior, so that each draw has the labels of all the others."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

ROUNDS = 100
TINY = 1e-12  # smallest responsibility, so that its logarithm is finite


def relabel(responsibilities: Float[Tensor, "s n k"], alike: Bool[Tensor, "k k"] | None = None) -> Int[Tensor, "s k"]:
    """The orders that minimize sum_s KL(p(z | x, theta_s) || their mean over draws), summed over rows.

    Two steps alternate until nothing changes: the mean given the orders, and the best order of each draw given the
    mean, out of all k!, by the Hungarian algorithm. Stephens, Dealing with label switching in mixture models, Journal
    of the Royal Statistical Society B 62 (2000), 795-809, algorithm 2.

    Args:
        responsibilities: (s, n, k) p(z | x, theta_s) of n rows under s draws of the parameters.
        alike: (k, k) which components may exchange their labels: `alike[j, l]` if component l may become component j.
            None for all.

    Returns:
        (s, k) orders: component j of all draws is component order[s, j] of draw s.

    Example:
        >>> import torch
        >>> from lowerbound.inference import relabel
        >>> p = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        >>> relabel(torch.stack([p, p, p.flip(1)]))  # the third draw has its labels switched
        tensor([[0, 1],
                [0, 1],
                [1, 0]])
    """
    p = responsibilities.clamp(min=TINY)
    s, _, k = p.shape
    own = (p * p.log()).sum(1)  # (s, k)
    order = torch.arange(k).expand(s, k).clone()
    for _ in range(ROUNDS):
        mean = torch.gather(p, 2, order.unsqueeze(1).expand_as(p)).mean(0)  # (n, k)
        # (s, j, l): the KL of component l of draw s if it becomes component j
        cost = own.unsqueeze(1) - torch.einsum("snl,nj->sjl", p, mean.log())
        if alike is not None:
            cost = cost.masked_fill(~alike, torch.inf)
        new = torch.as_tensor(np.stack([linear_sum_assignment(each)[1] for each in cost.numpy()]))
        if torch.equal(new, order):
            break
        order = new
    return order

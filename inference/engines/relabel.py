"""Undo label switching in posterior draws: give each draw the component order that agrees best with the others."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MAX_ROUNDS = 100
SMALLEST = 1e-12  # responsibilities are clamped to it before the logarithm


def relabel(responsibilities: Float[Tensor, "s n k"], alike: Bool[Tensor, "k k"] | None = None) -> Int[Tensor, "s k"]:
    """The order of the components in each draw that minimizes sum_s KL(p(z | x, theta_s) || mean of all draws).

    Two steps alternate until nothing changes: the mean given the orders, and the best order of each draw given the
    mean (an assignment problem, so that all k! orders are considered).

    Args:
        responsibilities: (s, n, k) p(z | x, theta_s) of n rows under each of s draws.
        alike: (k, k) which pairs of components may exchange their labels; all of them by default.

    Returns:
        (s, k) order: the common component j is component order[s, j] of draw s.

    Example:
        The second of three draws has its two components the other way round:

        >>> import torch
        >>> from lowerbound.inference import relabel
        >>> p = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [0.8, 0.2]], [[0.8, 0.2], [0.1, 0.9]]])
        >>> relabel(p).tolist()
        [[0, 1], [1, 0], [0, 1]]

    References:
        Stephens, Dealing with label switching in mixture models, Journal of the Royal Statistical Society B 62 (2000),
        795-809, algorithm 2.
    """
    from scipy.optimize import linear_sum_assignment  # here: it is slow to import

    p = responsibilities.clamp(min=SMALLEST)
    s, _, k = p.shape
    own = (p * p.log()).sum(1)  # (s, k)
    order = torch.arange(k).expand(s, k).clone()
    for _ in range(MAX_ROUNDS):
        mean = torch.gather(p, 2, order.unsqueeze(1).expand_as(p)).mean(0)  # (n, k)
        cost = own.unsqueeze(1) - torch.einsum("snl,nj->sjl", p, mean.log())  # of component l of draw s as j
        if alike is not None:
            cost = cost.masked_fill(~alike, torch.inf)
        new = torch.as_tensor(np.stack([linear_sum_assignment(each)[1] for each in cost.numpy()]))
        if torch.equal(new, order):
            break
        order = new
    return order

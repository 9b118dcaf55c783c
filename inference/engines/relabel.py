"""Undoing label switching in draws of a posterior: each draw gets the labels that agree best with all the others."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

ROUNDS = 100
TINY = 1e-12  # of a responsibility, whose logarithm is taken


def relabel(responsibilities: Float[Tensor, "s n k"], alike: Bool[Tensor, "k k"] | None = None) -> Int[Tensor, "s k"]:
    """For each of s draws the order of its components: component j of all is component order[s, j] of draw s.

    responsibilities: p(z | x, theta_s) of some rows. The orders of the least sum over draws of KL(p(z | x, theta_s) ||
    mean of all), found by turns: the mean given the orders, and the best order of each draw given the mean, out of all
    k! (Stephens, Journal of the Royal Statistical Society B 62 (2000), 795-809, algorithm 2), or of those that exchange
    only components that are `alike`.
    """
    p = responsibilities.clamp(min=TINY)
    s, _, k = p.shape
    own = (p * p.log()).sum(1)  # (s, k)
    order = torch.arange(k).expand(s, k).clone()
    for _ in range(ROUNDS):
        mean = torch.gather(p, 2, order.unsqueeze(1).expand_as(p)).mean(0)  # (n, k)
        cost = own.unsqueeze(1) - torch.einsum("snl,nj->sjl", p, mean.log())  # of draw s's component l as j
        if alike is not None:
            cost = cost.masked_fill(~alike, torch.inf)
        new = torch.as_tensor(np.stack([linear_sum_assignment(each)[1] for each in cost.numpy()]))
        if torch.equal(new, order):
            break
        order = new
    return order

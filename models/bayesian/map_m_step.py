"""The M-step of a MAP estimate under any prior: gradient ascent on the expected log joint density, from statistics."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.distributions import biject_to

from ..contract import Statistics
from .parameter_sites import Theta, sites_log_prob
from .prior_and_posterior import PriorAndPosterior


def maximize_log_joint(beliefs: PriorAndPosterior, theta: Theta, statistics: Statistics) -> Theta:
    """The theta that maximizes sum_k E[log p(rows of k | theta_k)] + log p(theta); the rows enter by their statistics.

    L-BFGS on the unconstrained coordinates, from the theta that is given. That one is returned if no better one was
    found, so that the bound never falls.
    """
    own = {name: theta[name].detach() for name in beliefs.supports()}
    maps = {name: biject_to(form) for name, (form, _) in beliefs.supports().items()}
    begin = {name: torch.as_tensor(maps[name].inv(value)) for name, value in own.items()}
    sizes = [value.numel() for value in begin.values()]
    scale = float(statistics.weight.sum().clamp(min=1.0))

    def at(flat: Tensor) -> Theta:
        pieces = zip(begin, flat.split(sizes), strict=True)
        return {name: torch.as_tensor(maps[name](piece.reshape(begin[name].shape))) for name, piece in pieces}

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        with torch.enable_grad():
            u = torch.as_tensor(flat).clone().requires_grad_(True)
            there = at(u)
            expected = beliefs.family_at(there).expected_log_prob(statistics.weight, statistics.total).sum()
            value = -(expected + sites_log_prob(beliefs.prior(there), there)) / scale
            (gradient,) = torch.autograd.grad(value, u)
        return float(value), gradient.numpy()

    from scipy.optimize import minimize  # here: it is slow to import

    first = torch.cat([value.flatten() for value in begin.values()]).numpy()
    result = minimize(loss, first, jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 100})
    better = np.isfinite(result.fun) and result.fun < loss(first)[0]
    return at(torch.as_tensor(result.x)) if better else own

"""The best q(z | x) of each row within a family of distributions, found by Adam on the ELBO of that row alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, transform_to

from ...models import LatentModel
from ...models.continuous.distribution_views import parameters_of, rebuilt
from .log_joint_density import log_joint_density


class TrainableDistribution:
    """A distribution of the family of q whose parameters are trained: `free` holds them, unconstrained."""

    def __init__(self, q: Distribution):
        self._q = q
        base = q
        while isinstance(base, Independent):
            base = base.base_dist
        self._to = {name: transform_to(base.arg_constraints[name]) for name in parameters_of(q)}
        start = {name: self._to[name].inv(value) for name, value in parameters_of(q).items()}
        self.free = {name: value.detach().clone().requires_grad_() for name, value in start.items()}

    def distribution(self) -> Distribution:
        """The distribution at the present values of `free`, differentiable in them."""
        return rebuilt(self._q, {name: self._to[name](value) for name, value in self.free.items()})


def maximize_elbo(
    model: LatentModel, x: Tensor, q: Distribution, steps: int, particles: int
) -> tuple[Distribution, float]:
    """The q(z | x) of each row with the highest ELBO in the family of `q`, by Adam from `q`.

    The step size falls from a tenth of a prior standard deviation to a ten-thousandth. The second value says whether
    the search converged: the ELBO of all rows in the last tenth of the steps, minus that in the tenth before.
    """
    losses = []
    trainable = TrainableDistribution(q)
    free = list(trainable.free.values())
    # with this eps, steps near the maximum shrink with the gradient in nats; with a small one they keep their size
    optimizer = torch.optim.Adam(free, lr=0.1, eps=0.1)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 * 0.001 ** (step / steps)
        current = trainable.distribution()
        z = current.rsample((particles,))
        # log q without gradient through its parameters: the gradient has the same mean, and no variance where q is the
        # posterior ("sticking the landing": Roeder, Wu & Duvenaud, NeurIPS 2017)
        loss = -(log_joint_density(model, x, z) - _detached(current).log_prob(z)).mean(0).sum()
        for tensor, gradient in zip(free, torch.autograd.grad(loss, free), strict=True):
            tensor.grad = gradient
        optimizer.step()
        losses.append(float(loss.detach()))
    tenth = max(1, steps // 10)
    before, last = losses[-2 * tenth : -tenth] or losses[:1], losses[-tenth:]
    return trainable.distribution(), sum(before) / len(before) - sum(last) / len(last)


def _detached(q: Distribution) -> Distribution:
    return rebuilt(q, {name: value.detach() for name, value in parameters_of(q).items()})

"""log p(x, theta) as a function of one unconstrained vector, for samplers, and a lower bound by a Gaussian in it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import biject_to

from ...models import BayesianMixture, Rows
from ...models.bayesian.parameter_sites import Theta, sites_log_prob
from ...models.families.missing_values import log_prob_of_rows as log_prob
from ...models.mixtures.e_step import label_log_mask

BOUND_DRAWS = 2000  # draws of the Gaussian by which its bound is estimated


class LogJoint:
    """log p(x, theta(u)) + log |d theta / d u| of a Bayesian mixture, for a vector u (p,) of unconstrained coordinates.

    The coordinates are in units of the data.
    """

    def __init__(self, model: BayesianMixture, rows: Rows):
        self.shares, self.beliefs = model.shares, model.beliefs
        self.chunks = list(rows.merged.chunks())
        supports = {**self.shares.supports(), **self.beliefs.supports()}
        self.maps = {name: biject_to(form) for name, (form, _) in supports.items()}
        self.shapes = {name: self.maps[name].inverse_shape(shape) for name, (_, shape) in supports.items()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]

    def __call__(self, u: Float[Tensor, " p"]) -> Float[Tensor, ""]:
        """The density at u in nats, differentiable."""
        theta, total = {}, u.new_zeros(())
        for name, part in zip(self.maps, u.split(self.sizes), strict=True):
            part = part.reshape(self.shapes[name])
            theta[name] = self.maps[name](part)
            total = total + torch.as_tensor(self.maps[name].log_abs_det_jacobian(part, theta[name])).sum()
        family = self.beliefs.family_at({name: theta[name] for name in self.beliefs.supports()})
        log_weights = self.shares.log_weights(theta)
        for chunk in self.chunks:
            terms = log_prob(family, chunk.x) + log_weights
            if chunk.labels is not None:
                terms = terms + label_log_mask(chunk.labels, terms.shape[-1])
            rows = terms.logsumexp(-1)
            total = total + (rows.sum() if chunk.weights is None else rows @ chunk.weights)
        return (
            total + sites_log_prob(self.shares.prior(theta), theta) + sites_log_prob(self.beliefs.prior(theta), theta)
        )

    def potential(self, parameters: dict[str, Tensor]) -> Tensor:
        """Minus the log density, as Pyro's samplers want it; infinite where theta is out of the range of numbers."""
        u = parameters["u"]
        try:
            value = -self(u)
        except (ValueError, RuntimeError):  # raised by distributions, and by Cholesky factors
            return torch.inf + 0 * u.sum()
        return torch.where(value.isnan(), torch.inf + 0 * u.sum(), value)

    @torch.no_grad()
    def many(self, u: Float[Tensor, "s p"]) -> Float[Tensor, " s"]:
        """The log density at several vectors."""
        return torch.stack([-self.potential({"u": one}) for one in u])

    @torch.no_grad()
    def theta(self, u: Float[Tensor, " p"]) -> Theta:
        """The parameters at u, always with the weights, also where u holds sticks."""
        parts = zip(self.maps, u.split(self.sizes), strict=True)
        theta = {name: torch.as_tensor(self.maps[name](part.reshape(self.shapes[name]))) for name, part in parts}
        return {"weights": self.shares.log_weights(theta).exp(), **theta}

    @torch.no_grad()
    def unconstrained(self, theta: Theta, names: Iterable[str] | None = None) -> Float[Tensor, " p"]:
        """The vector u of these parameters, or of those with the given names."""
        wanted = self.maps if names is None else names
        return torch.cat([torch.as_tensor(self.maps[name].inv(theta[name])).flatten() for name in wanted])


@torch.no_grad()
def gaussian_bound(joint: LogJoint, draws: Float[Tensor, "s p"]) -> float:
    """An estimate of the lower bound E_q[log p(x, theta) - log q] of log p(x), in nats.

    q is the Gaussian with the mean and covariance of these draws, truncated to where log p(x, theta) is finite. The
    estimate uses draws from q. Raises ArithmeticError for draws that are not finite.
    """
    if not draws.isfinite().all():
        raise ArithmeticError(
            "some draws of the sampler are at the boundary of a parameter's range, such as a weight of 0, expected "
            "draws inside: take a larger concentration, or fewer components"
        )
    s, p = draws.shape
    covariance = torch.atleast_2d(torch.cov(draws.T)) if s > p + 1 else torch.diag(draws.var(0))
    covariance = covariance + torch.diag(1e-9 * covariance.diagonal() + 1e-12)  # a chain may not have moved
    q = torch.distributions.MultivariateNormal(draws.mean(0), covariance)
    u = q.sample((BOUND_DRAWS,))
    each = joint.many(u) - q.log_prob(u)
    kept = each[each.isfinite()]
    return float(kept.mean()) + math.log(len(kept) / len(each)) if len(kept) else -math.inf


def split_draws(theta: Theta) -> list[Theta]:
    """The values of several draws as one dict for each draw."""
    return [{name: value[i] for name, value in theta.items()} for i in range(len(theta["weights"]))]

"""The normal-inverse-Wishart posterior of Gaussians, in its three forms."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints, kl_divergence

from ...data.moments import Moments
from ..data_units import Located
from ..families.family import Family
from ..families.gaussian import Gaussian
from ..families.normal_inverse_wishart import ConjugatePrior, NormalInverseWishart, weak_prior
from ..kernels.full_covariance import Full
from ..kernels.gaussian_conditional import ConditionalGaussian
from ..kernels.gaussian_pass import log_density
from ..kernels.special_functions import log_gamma_ratio
from .beliefs import Beliefs, Sites, Theta, copy_buffers, remade
from .inverse_wishart import Covariances, InverseWishart, digammas


class MeanPrecision(ConjugatePrior):
    """A conjugate prior whose M-step goes to the inverse of the posterior mean of the precision, not to the mode."""

    def scatter_weight(self, components: int) -> Tensor:
        """The prior's degrees of freedom."""
        return self.dof if self.shape.scale_dims else self.dof / len(self.location)


class GaussianBeliefs(Beliefs):
    """Sigma ~ InverseWishart(dof, scale) or, without correlations, variances ~ InverseGamma(dof / 2, scale / 2); and
    loc | Sigma ~ N(location, Sigma / location_weight): of one covariance for all members if it is tied.

    Sites: `covariance` (k, d, d), tied (d, d); or `variance` (k, d), tied (d,), spherical (k,) or (); `loc` (k, d).
    Hyperparameters of q: `likelihood.loc` and `likelihood.scale_tril` or `.scale`, at E_q[precision]^-1, with which
    q's own scale is dof times as large; `location_weight` (k,); `dof` (k,), tied (). The "weak" prior is that of Fraley
    & Raftery (2007) for one component, whatever k is, so that bounds of log p(all rows) compare.
    """

    likelihood: Gaussian
    location_weight: Tensor
    dof: Tensor

    def __init__(self, family: Any, prior: Any = None, conjugate: bool = True):
        super().__init__()
        if not (prior is None or prior == "weak" or isinstance(prior, NormalInverseWishart)):
            raise ValueError(f"prior is {prior!r}, expected 'weak' or a NormalInverseWishart")
        if family.variance_floor:
            raise ValueError("got a variance_floor, expected none: the prior keeps variances from 0")
        self.conjugate = conjugate
        made = remade(family, prior=prior or family.prior or "weak")
        assert isinstance(made, Gaussian)
        self.likelihood = made if conjugate else made.bare()  # type: ignore[reportIncompatibleVariableOverride]
        shape, d = made.shape, made.features
        self._k = family.components
        self.site = "covariance" if shape is Full else "variance"
        self.shared = frozenset({self.site}) if made.tied else frozenset()
        if conjugate:
            ones = torch.ones(self._k, dtype=torch.float64)
            self.location_weight = PyroParam(ones, constraints.positive)  # type: ignore[assignment]
            least = d - 1.0 if shape is Full else 0.0
            dof = least + (ones.new_ones(()) if made.tied else ones)
            self.dof = PyroParam(dof, constraints.greater_than(least))  # type: ignore[assignment]
            self.shared |= {"dof"} if made.tied else set()

    @property
    def components(self) -> int:
        """k, the number of members."""
        return self._k

    # p(theta) and q(theta) as Pyro sites

    def prior(self, theta: Theta) -> Sites:
        """Sigma, then loc given Sigma."""
        prior = self._prior()
        yield self.site, self._spread(prior.dof, prior.scatter.expand(*self._lead, -1))
        yield "loc", self._location(theta[self.site], prior.location, prior.location_weight.expand(self._k))

    def posterior(self, theta: Theta) -> Sites:
        """The same, with the hyperparameters of the posterior."""
        yield self.site, self._spread(self.dof, self.dof.unsqueeze(-1) * self._average())
        yield "loc", self._location(theta[self.site], self.likelihood.loc, self.location_weight)

    def supports(self) -> dict[str, tuple[Any, torch.Size]]:
        """loc in the units of the data, and so are covariances."""
        made, d = self.likelihood, self.likelihood.features
        form = Covariances(made) if made.shape is Full else constraints.positive
        return {
            self.site: (form, torch.Size([*self._lead, *[d] * made.shape.scale_dims])),
            "loc": (Located(made), torch.Size([self._k, d])),
        }

    def values(self, theta: Theta) -> Theta:
        """Covariances to their factors, variances to standard deviations."""
        spread = theta[self.site]
        scale = torch.linalg.cholesky(spread) if self.likelihood.shape is Full else spread.sqrt()
        return {"loc": theta["loc"], self.likelihood.shape.name: scale}

    def start(
        self, x: Float[Tensor, "n d"], share: Float[Tensor, "n k"], locations: Tensor | None, data: Moments
    ) -> Theta:
        """The posterior given these shares: its mean, with E[precision]^-1 for Sigma."""
        made = self.likelihood
        if not self.conjugate:
            made = remade(made)
            assert isinstance(made, Gaussian)
        made.set_units(locations, data)
        if made.prior == "weak":
            made.store_prior(weak_prior(made.shape, 1, data))
        copy_buffers(made, self.likelihood)
        self._update(made, share.sum(0), made.summarize(x, share))
        copy_buffers(made, self.likelihood)  # rounding may have moved the origins
        if self.conjugate:
            self._count(share.sum(0))
        return {self.site: self._matrix(getattr(made, made.shape.name)), "loc": made.loc.detach()}

    def set_units(self, data: Moments) -> None:
        """The weak prior, and, of a conjugate q, units and origins."""
        made = self.likelihood if self.conjugate else remade(self.likelihood)
        assert isinstance(made, Gaussian)
        made.set_units(None, data)
        if made.prior == "weak":
            self.likelihood.store_prior(weak_prior(made.shape, 1, data))

    # what variational Bayes needs of q(theta)

    def expected(self) -> tuple[Family, Float[Tensor, " k"]]:
        """Gaussians with the expected precision, and (E log |precision| - log |E precision| - d / location_weight) / 2:
        what is lost by not knowing Sigma, and loc."""
        d, half = self.likelihood.features, 0.5 * self.dof
        own = digammas(half, d) if self.likelihood.shape is Full else d * half.digamma()
        log_det = own - d * half.log()
        return self.likelihood, 0.5 * (log_det - d / self.location_weight)

    def mean(self) -> Theta:
        """loc, and for Sigma E[precision]^-1, which there always is."""
        made = self.likelihood
        return {self.site: self._matrix(getattr(made, made.shape.name)), "loc": made.loc}

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> None:
        """dof and location_weight count the rows, loc and scale are those of the rows and the prior's together."""
        self._update(self.likelihood, weight, total)
        self._count(weight)

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """Sums about the origins of now."""
        return self.likelihood.remeasure(weight, total)

    def divergence(self) -> Float[Tensor, ""]:
        """KL(q || p) = E_q[KL(q(loc | Sigma) || p(loc | Sigma))] + KL(q(Sigma) || p(Sigma))."""
        made, prior, d = self.likelihood, self._prior(), self.likelihood.features
        ratio = prior.location_weight / self.location_weight
        away = made.shape.whiten(made.scales(), (made.loc - prior.location).unsqueeze(-1)).square().sum((-2, -1))
        location = 0.5 * (d * (ratio - 1 - ratio.log()) + prior.location_weight * away)
        q = self._spread(self.dof, self.dof.unsqueeze(-1) * self._average())
        p = self._spread(prior.dof, prior.scatter.expand(*self._lead, -1))
        return location.sum() + _divergence(q, p)

    def predictive(self, z: Any = ...) -> Distribution:
        """A multivariate t, or without correlations and with a variance for each column, independent ones."""
        dof, scales = self._predictive()
        made, loc = self.likelihood, self.likelihood.loc[z]
        if made.shape.scale_dims == 1:
            return dist.StudentT(dof[z].unsqueeze(-1), loc, scales[z]).to_event(1)
        if made.shape.scale_dims == 0:
            scales = scales[:, None, None] * torch.eye(made.features, dtype=scales.dtype, device=scales.device)
        return dist.MultivariateStudentT(dof[z], loc, scales[z])

    def predictive_log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log t(seen cells of x) in nats."""
        dof, scales = self._predictive()
        made, d = self.likelihood, self.likelihood.features
        y = x.unsqueeze(-2) - made.origin - made.loc_from_origin()  # (n, k, d)
        if made.shape.scale_dims == 1:
            cell = dist.StudentT(dof.unsqueeze(-1), torch.zeros_like(scales), scales)
            return torch.where(y.isnan(), 0.0, cell.log_prob(y.nan_to_num(nan=0.0))).sum(-1)
        if x.isnan().any():
            given = ConditionalGaussian(made.shape, scales, y)
            normal, squared, seen = given.log_prob, given.squared, given.observed
        else:
            normal, seen = log_density(made.shape, scales, y.permute(1, 2, 0)).T, torch.full((len(x), 1), d).to(y)
            squared = -2 * normal - d * math.log(2 * math.pi) - made.shape.log_det(scales, d)
        tail = log_gamma_ratio(0.5 * dof, 0.5 * seen) - 0.5 * seen * (0.5 * dof).log()
        return normal + 0.5 * squared + tail - 0.5 * (dof + seen) * torch.log1p(squared.clamp(min=0) / dof)

    def permute(self, order: Tensor) -> None:
        """Relabel the members in place."""
        super().permute(order)
        self.likelihood.permute(order)

    # inside

    @property
    def _lead(self) -> tuple[int, ...]:
        """The batch shape of Sigma."""
        return () if self.likelihood.tied else (self._k,)

    def _prior(self) -> ConjugatePrior:
        prior = self.likelihood.conjugate_prior()
        assert prior is not None
        return prior

    def _average(self) -> Tensor:
        """The packed E[precision]^-1 (..., s); spherical: the variance (..., 1)."""
        made = self.likelihood
        scale = getattr(made, made.shape.name)
        return made.shape.covariance(scale, made.features) if made.shape.scale_dims else scale.unsqueeze(-1) ** 2

    def _matrix(self, scale: Tensor) -> Tensor:
        """The value of the site of Sigma at this scale."""
        return (scale @ scale.mT if self.likelihood.shape is Full else scale**2).detach()

    def _spread(self, dof: Tensor, scatter: Float[Tensor, "*k s"]) -> Distribution:
        """The distribution of Sigma, all members one event; scatter: (..., s), spherical (..., 1)."""
        made = self.likelihood
        if made.shape is Full:
            made_of: Any = InverseWishart(dof, Full.scale(scatter, made.features)[0], validate_args=False)
        else:
            if made.shape.scale_dims == 0:
                scatter = scatter.squeeze(-1)
            elif dof.ndim:
                dof = dof.unsqueeze(-1)
            made_of = dist.InverseGamma(0.5 * dof.expand_as(scatter), 0.5 * scatter, validate_args=False)
        return made_of.to_event(len(made_of.batch_shape)) if made_of.batch_shape else made_of

    def _location(self, spread: Tensor, loc: Tensor, weight: Tensor) -> Distribution:
        """N(loc, Sigma / weight), all members one event."""
        made, d = self.likelihood, self.likelihood.features
        weight = weight.unsqueeze(-1)
        if made.tied:  # one for all members, of as many draws as there are
            spread = spread.unsqueeze(-1 - made.shape.scale_dims)
        if made.shape is Full:
            factor = torch.linalg.cholesky(spread) / weight.unsqueeze(-1).sqrt()
            return dist.MultivariateNormal(loc.expand(self._k, d), scale_tril=factor, validate_args=False).to_event(1)
        variance = (spread if made.shape.scale_dims == 1 else spread.unsqueeze(-1)) / weight
        deviation = variance.sqrt().expand(*variance.shape[:-2], self._k, d)
        return dist.Normal(loc.expand_as(deviation), deviation).to_event(2)

    def _update(self, made: Gaussian, weight: Tensor, total: Tensor) -> None:
        prior = made.conjugate_prior()
        assert prior is not None
        mean = MeanPrecision(prior.shape, prior.location, prior.location_weight, prior.dof, prior.scatter)
        made._solve(weight, total, mean)

    def _count(self, weight: Tensor) -> None:
        prior, made = self._prior(), self.likelihood
        rows = weight if made.shape.scale_dims else weight * made.features
        self.location_weight = prior.location_weight + weight
        self.dof = prior.dof + (rows.sum() if made.tied else rows)

    def _predictive(self) -> tuple[Float[Tensor, " k"], Tensor]:
        """Degrees of freedom and scales of each member's t distribution."""
        made, d = self.likelihood, self.likelihood.features
        dof = self.dof.expand(self._k)
        own = dof - d + 1 if made.shape is Full else dof
        wider = ((self.location_weight + 1) / self.location_weight * dof / own).sqrt()
        scales = made.scales()
        return own, scales * wider.reshape(-1, *[1] * (scales.ndim - 1))


def _divergence(q: Any, p: Any) -> Tensor:
    """KL of the distributions of Sigma: those of the precisions, where they are gammas."""
    while isinstance(q, torch.distributions.Independent):
        q, p = q.base_dist, p.base_dist
    if isinstance(q, InverseWishart):
        return kl_divergence(q, p).sum()
    gammas = [torch.distributions.Gamma(each.concentration, each.rate, validate_args=False) for each in (q, p)]
    return kl_divergence(*gammas).sum()

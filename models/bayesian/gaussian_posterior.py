"""The prior and posterior of Gaussians' locations and covariances: normal-inverse-Wishart, in its three forms."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from ...data.moments import Moments
from ..families.family import Family
from ..families.gaussian import Gaussian
from ..families.normal_inverse_wishart import ConjugatePrior, NormalInverseWishart, weak_prior
from ..kernels.full_covariance import Full
from ..kernels.special_functions import ratio_deficit
from ..parameter_units import Located
from .covariance_constraint import Covariances
from .gaussian_predictive import degrees_and_scales, student_t, student_t_log_prob
from .gaussian_sites import covariance_distribution, covariance_divergence, location_distribution
from .inverse_wishart import digammas
from .parameter_sites import Sites, Theta
from .prior_and_posterior import PriorAndPosterior
from .unfitted_copy import copy_buffers, fresh_family


class MeanPrecision(ConjugatePrior):
    """A conjugate prior whose M-step goes to the inverse of the posterior mean of the precision, not to the mode."""

    def scatter_weight(self, components: int) -> Tensor:
        """The prior's degrees of freedom."""
        return self.dof if self.shape.scale_dims else self.dof / len(self.location)


class GaussianPosterior(PriorAndPosterior):
    """Sigma ~ InverseWishart(dof, scale) and loc | Sigma ~ N(location, Sigma / location_weight).

    Without correlations variances ~ InverseGamma(dof / 2, scale / 2). If the covariance is tied, all components share
    one Sigma. The "weak" prior is that of Fraley & Raftery (2007) for one component, whatever k is, so that bounds of
    log p(all rows) compare.

    Sites: `covariance` (k, d, d), tied (d, d); or `variance` (k, d), tied (d,), spherical (k,) or (); `loc` (k, d).
    Hyperparameters of q: `location_weight` (k,); `dof` (k,), tied (); and the parameters of `likelihood`, `loc` and
    `scale_tril` or `scale`, at the inverse of the expected precision: the scale of q is dof times as large.
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
        made = fresh_family(family, prior=prior or family.prior or "weak")
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
        """k, the number of components."""
        return self._k

    # p(theta) and q(theta) as Pyro sites

    def prior(self, theta: Theta) -> Sites:
        """Sigma, then loc given Sigma."""
        prior = self._prior()
        yield self.site, self._prior_of_covariance(prior)
        weight = prior.location_weight.expand(self._k)
        yield "loc", location_distribution(self.likelihood, theta[self.site], prior.location, weight)

    def posterior(self, theta: Theta) -> Sites:
        """The same, with the hyperparameters of the posterior."""
        yield self.site, self._posterior_of_covariance()
        yield "loc", location_distribution(self.likelihood, theta[self.site], self.likelihood.loc, self.location_weight)

    def supports(self) -> dict[str, tuple[Any, torch.Size]]:
        """Covariances or positive variances, and real locations."""
        made, d = self.likelihood, self.likelihood.features
        form = Covariances(made) if made.shape is Full else constraints.positive
        return {
            self.site: (form, torch.Size([*self._lead, *[d] * made.shape.scale_dims])),
            "loc": (Located(made), torch.Size([self._k, d])),
        }

    def values(self, theta: Theta) -> Theta:
        """Locations, and Cholesky factors of covariances or square roots of variances."""
        spread = theta[self.site]
        scale = torch.linalg.cholesky(spread) if self.likelihood.shape is Full else spread.sqrt()
        return {"loc": theta["loc"], self.likelihood.shape.name: scale}

    def start(
        self, x: Float[Tensor, "n d"], share: Float[Tensor, "n k"], locations: Tensor | None, data: Moments
    ) -> Theta:
        """The mean of the posterior given these responsibilities, with E[precision]^-1 for Sigma."""
        made = self.likelihood
        if not self.conjugate:
            made = fresh_family(made)
            assert isinstance(made, Gaussian)
        made.set_units(locations, data)
        if made.prior == "weak":
            made.store_prior(weak_prior(made.shape, 1, data))
        copy_buffers(made, self.likelihood)
        self._update(made, share.sum(0), made.summarize(x, share))
        copy_buffers(made, self.likelihood)  # again: rounding may have moved the origins
        if self.conjugate:
            self._count(share.sum(0))
        return {self.site: self._matrix(made.value(made.shape.name)), "loc": made.loc.detach()}

    def set_units(self, data: Moments) -> None:
        """Learn the weak prior, and, with a conjugate q, units and origins."""
        made = self.likelihood if self.conjugate else fresh_family(self.likelihood)
        assert isinstance(made, Gaussian)
        made.set_units(None, data)
        if made.prior == "weak":
            self.likelihood.store_prior(weak_prior(made.shape, 1, data))

    # what variational Bayes needs of q(theta)

    def expected(self) -> tuple[Family, Float[Tensor, " k"]]:
        """Gaussians with the expected precision, and (E log |precision| - log |E precision| - d / location_weight) / 2.

        The second corrects for the uncertainty of Sigma and loc; it is negative.
        """
        d, half = self.likelihood.features, 0.5 * self.dof
        own = digammas(half, d) if self.likelihood.shape is Full else d * half.digamma()
        log_det = own - d * half.log()
        return self.likelihood, 0.5 * (log_det - d / self.location_weight)

    def mean(self) -> Theta:
        """E[loc], and for Sigma E[precision]^-1, which exists for all degrees of freedom."""
        made = self.likelihood
        return {self.site: self._matrix(made.value(made.shape.name)), "loc": made.loc}

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> None:
        """dof and location_weight count the rows; loc and scale combine the rows and the prior."""
        self._update(self.likelihood, weight, total)
        self._count(weight)

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """The sums about the present origins."""
        return self.likelihood.remeasure(weight, total)

    def divergence(self) -> Float[Tensor, ""]:
        """KL(q || p) = E_q[KL(q(loc | Sigma) || p(loc | Sigma))] + KL(q(Sigma) || p(Sigma)) in nats."""
        made, prior, d = self.likelihood, self._prior(), self.likelihood.features
        less = ratio_deficit(prior.location_weight, self.location_weight)
        away = made.shape.whiten(made.scales(), (made.loc - prior.location).unsqueeze(-1)).square().sum((-2, -1))
        location = 0.5 * (d * less + prior.location_weight * away)
        return location.sum() + covariance_divergence(self._posterior_of_covariance(), self._prior_of_covariance(prior))

    def predictive(self, z: Any = ...) -> Distribution:
        """Student's t: multivariate, or one for each column if each has its own variance."""
        return student_t(self.likelihood, *self._degrees_and_scales(), z)

    def predictive_log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Its log density in nats, of the observed values of each row."""
        return student_t_log_prob(self.likelihood, *self._degrees_and_scales(), x)

    def permute(self, order: Tensor) -> None:
        """Relabel the components in place."""
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

    def _prior_of_covariance(self, prior: ConjugatePrior) -> Distribution:
        return covariance_distribution(self.likelihood, prior.dof, prior.scatter.expand(*self._lead, -1))

    def _posterior_of_covariance(self) -> Distribution:
        made = self.likelihood
        scale = made.value(made.shape.name)
        # E[precision]^-1, packed as (..., s); spherical: the variance (..., 1)
        average = made.shape.covariance(scale, made.features) if made.shape.scale_dims else scale.unsqueeze(-1) ** 2
        return covariance_distribution(made, self.dof, self.dof.unsqueeze(-1) * average)

    def _matrix(self, scale: Tensor) -> Tensor:
        """The value of the site of Sigma at this scale."""
        return (scale @ scale.mT if self.likelihood.shape is Full else scale**2).detach()

    def _update(self, made: Gaussian, weight: Tensor, total: Tensor) -> None:
        prior = made.conjugate_prior()
        assert prior is not None
        mean = MeanPrecision(prior.shape, prior.location, prior.location_weight, prior.dof, prior.scatter)
        made._set_from_sums(weight, total, mean)

    def _count(self, weight: Tensor) -> None:
        prior, made = self._prior(), self.likelihood
        rows = weight if made.shape.scale_dims else weight * made.features
        self.location_weight = prior.location_weight + weight
        self.dof = prior.dof + (rows.sum() if made.tied else rows)

    def _degrees_and_scales(self) -> tuple[Float[Tensor, " k"], Tensor]:
        return degrees_and_scales(self.likelihood, self.dof.expand(self._k), self.location_weight)

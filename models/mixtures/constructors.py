"""Short names for the usual mixtures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..families.bernoulli import Bernoulli
from ..families.categorical import Categorical
from ..families.conjugate_priors import Prior
from ..families.exponential import Exponential
from ..families.gamma import Gamma
from ..families.gaussian import Gaussian
from ..families.multinomial import Multinomial
from ..families.negative_binomial import NegativeBinomial
from ..families.normal_inverse_wishart import NormalInverseWishart
from ..families.poisson import Poisson
from ..families.student_t import StudentT
from .mixture import Mixture


def GaussianMixture(
    components: int,
    features: int,
    covariance: str = "full",
    prior: str | NormalInverseWishart | None = None,
    concentration: float | None = None,
    variance_floor: float = 0.0,
) -> Mixture:
    """A mixture of `components` Gaussians in `features` dimensions: Mixture(Gaussian(...)).

    covariance: "full", "tied", "diag", "spherical", "tied-diag" or "tied-spherical"; prior: None (maximum likelihood),
    "weak" or a `NormalInverseWishart`; concentration: of a Dirichlet prior on the weights; variance_floor: the least
    variance, in squared units of the data, where there are no correlations. Parameters: `.weights` (k,),
    `.family.loc` (k, d), and `.family.scale_tril` (full, tied) or `.family.scale`, standard deviations.
    """
    return Mixture(Gaussian(components, features, covariance, prior, variance_floor), concentration)


def StudentTMixture(
    components: int,
    features: int,
    dof: Any = None,
    covariance: str = "full",
    prior: str | NormalInverseWishart | None = None,
    concentration: float | None = None,
) -> Mixture:
    """A mixture of multivariate t distributions, for data with outliers: Mixture(StudentT(...))."""
    return Mixture(StudentT(components, features, dof, covariance, prior), concentration)


def CategoricalMixture(
    components: int, levels: Sequence[int], prior: Prior = None, concentration: float | None = None
) -> Mixture:
    """Latent class analysis: Mixture(Categorical(...)); levels: how many categories each column has."""
    return Mixture(Categorical(components, levels, prior), concentration)


def BernoulliMixture(
    components: int, features: int, prior: Prior = None, concentration: float | None = None
) -> Mixture:
    """A mixture for columns of 0 and 1: Mixture(Bernoulli(...))."""
    return Mixture(Bernoulli(components, features, prior), concentration)


def PoissonMixture(components: int, features: int, prior: Prior = None, concentration: float | None = None) -> Mixture:
    """A mixture for counts: Mixture(Poisson(...))."""
    return Mixture(Poisson(components, features, prior), concentration)


def NegativeBinomialMixture(
    components: int, features: int, prior: Prior = None, concentration: float | None = None
) -> Mixture:
    """A mixture for counts that vary more than Poisson's: Mixture(NegativeBinomial(...))."""
    return Mixture(NegativeBinomial(components, features, prior), concentration)


def MultinomialMixture(
    components: int, features: int, trials: int | None = None, prior: Prior = None, concentration: float | None = None
) -> Mixture:
    """A mixture for rows of counts over the same categories, such as words: Mixture(Multinomial(...))."""
    return Mixture(Multinomial(components, features, trials, prior), concentration)


def ExponentialMixture(
    components: int, features: int, prior: Prior = None, concentration: float | None = None
) -> Mixture:
    """A mixture for waiting times: Mixture(Exponential(...))."""
    return Mixture(Exponential(components, features, prior), concentration)


def GammaMixture(components: int, features: int, prior: Prior = None, concentration: float | None = None) -> Mixture:
    """A mixture for positive numbers: Mixture(Gamma(...))."""
    return Mixture(Gamma(components, features, prior), concentration)

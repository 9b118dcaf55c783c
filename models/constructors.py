"""Short names for the usual mixtures."""

from __future__ import annotations

from .gaussian import Gaussian
from .mixture import Mixture
from .prior import NormalInverseWishart


def GaussianMixture(
    components: int,
    features: int,
    covariance: str = "full",
    prior: str | NormalInverseWishart | None = None,
    concentration: float | None = None,
) -> Mixture:
    """A mixture of `components` Gaussians in `features` dimensions: Mixture(Gaussian(...)).

    covariance: "full", "tied", "diag", "spherical", "tied-diag" or "tied-spherical"; prior: None (maximum likelihood),
    "weak" or a `NormalInverseWishart`; concentration: of a Dirichlet prior on the weights. Parameters: `.weights` (k,),
    `.family.loc` (k, d), and `.family.scale_tril` (full, tied) or `.family.scale`, standard deviations.
    """
    return Mixture(Gaussian(components, features, covariance, prior), concentration)

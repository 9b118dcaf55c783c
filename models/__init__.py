"""What is believed about the data: latent variable models, each a Pyro model/guide pair."""

from .base import Collapse, LatentModel, Statistics, SupportsEM
from .constructors import GaussianMixture
from .family import Family
from .gaussian import Gaussian
from .initialize import seed
from .mixture import Mixture
from .prior import NormalInverseWishart
from .rows import Rows

__all__ = [
    "Collapse",
    "Family",
    "Gaussian",
    "GaussianMixture",
    "LatentModel",
    "Mixture",
    "NormalInverseWishart",
    "Rows",
    "Statistics",
    "SupportsEM",
    "seed",
]

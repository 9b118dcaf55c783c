"""What is believed about the data: latent variable models, each a Pyro model/guide pair."""

from .base import Collapse, LatentModel, Statistics, SupportsEM
from .bernoulli import Bernoulli
from .categorical import Categorical
from .check import check_family
from .constructors import (
    BernoulliMixture,
    CategoricalMixture,
    ExponentialMixture,
    GammaMixture,
    GaussianMixture,
    MultinomialMixture,
    NegativeBinomialMixture,
    PoissonMixture,
    StudentTMixture,
)
from .exponential import Exponential
from .exponential_family import ExponentialFamily
from .family import Family, Profile
from .family_of import FamilyOf
from .gamma import Gamma
from .gaussian import Gaussian
from .initialize import seed
from .kmeans import KMeans
from .mixture import Mixture
from .multinomial import Multinomial
from .negative_binomial import NegativeBinomial
from .poisson import Poisson
from .prior import NormalInverseWishart
from .product import Product
from .rows import Rows
from .student import StudentT

__all__ = [
    "Bernoulli",
    "BernoulliMixture",
    "Categorical",
    "CategoricalMixture",
    "Collapse",
    "Exponential",
    "ExponentialFamily",
    "ExponentialMixture",
    "Family",
    "FamilyOf",
    "Gamma",
    "GammaMixture",
    "Gaussian",
    "GaussianMixture",
    "KMeans",
    "LatentModel",
    "Mixture",
    "Multinomial",
    "MultinomialMixture",
    "NegativeBinomial",
    "NegativeBinomialMixture",
    "NormalInverseWishart",
    "Poisson",
    "PoissonMixture",
    "Product",
    "Profile",
    "Rows",
    "Statistics",
    "StudentT",
    "StudentTMixture",
    "SupportsEM",
    "check_family",
    "seed",
]

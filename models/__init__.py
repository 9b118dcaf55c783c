"""What is believed about the data: latent variable models, each a Pyro model/guide pair."""

from .base import Collapse, LatentModel, Statistics, SupportsEM, SupportsPosterior
from .bayesian_mixture import BayesianMixture
from .bernoulli import Bernoulli
from .binarized import Binarized
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
from .decoders import BernoulliDecoder, CategoricalDecoder, ContinuousBernoulliDecoder, GaussianDecoder
from .encoders import ConvEncoder, MLPEncoder
from .exponential import Exponential
from .exponential_family import ExponentialFamily
from .family import Family, Profile
from .family_of import FamilyOf
from .gamma import Gamma
from .gaussian import Gaussian
from .initialize import seed
from .kmeans import KMeans
from .latent import ContinuousLatent, Draws
from .missing import Imputed
from .mixture import Mixture
from .multinomial import Multinomial
from .negative_binomial import NegativeBinomial
from .networks import Network
from .poisson import Poisson
from .posteriors import PosteriorDraws
from .ppca import PPCA
from .prior import NormalInverseWishart
from .product import Product
from .rows import Rows
from .student import StudentT
from .vae import VAE, linear_vae

__all__ = [
    "PPCA",
    "VAE",
    "BayesianMixture",
    "Bernoulli",
    "BernoulliDecoder",
    "BernoulliMixture",
    "Binarized",
    "Categorical",
    "CategoricalDecoder",
    "CategoricalMixture",
    "Collapse",
    "ContinuousBernoulliDecoder",
    "ContinuousLatent",
    "ConvEncoder",
    "Draws",
    "Exponential",
    "ExponentialFamily",
    "ExponentialMixture",
    "Family",
    "FamilyOf",
    "Gamma",
    "GammaMixture",
    "Gaussian",
    "GaussianDecoder",
    "GaussianMixture",
    "Imputed",
    "KMeans",
    "LatentModel",
    "MLPEncoder",
    "Mixture",
    "Multinomial",
    "MultinomialMixture",
    "NegativeBinomial",
    "NegativeBinomialMixture",
    "Network",
    "NormalInverseWishart",
    "Poisson",
    "PoissonMixture",
    "PosteriorDraws",
    "Product",
    "Profile",
    "Rows",
    "Statistics",
    "StudentT",
    "StudentTMixture",
    "SupportsEM",
    "SupportsPosterior",
    "check_family",
    "linear_vae",
    "seed",
]

"""Latent variable models of the data, each a Pyro model/guide pair.

The author of a new model reads `contract`. `mixtures` has the mixtures, `families` the distributions of their
components, `continuous` the models with a vector z, and `bayesian` the priors and posteriors of parameters. A new kind
of model, such as a hidden Markov model, gets its own folder here. It offers `LatentModel` and passes `check_model`.

Models import `lowerbound.data` and never an engine. Which folder may import which is listed in pyproject.toml, under
`[tool.importlinter]`.
"""

from ..data.binarized import Binarized
from ..data.rows import Rows
from .bayesian.bayesian_mixture import BayesianMixture
from .bayesian.sampled_posterior import PosteriorDraws
from .conformance.check_family import check_family
from .conformance.check_model import check_model
from .continuous.bernoulli_decoders import BernoulliDecoder, ContinuousBernoulliDecoder
from .continuous.categorical_decoder import CategoricalDecoder
from .continuous.continuous_latent import ContinuousLatent
from .continuous.draws import Draws
from .continuous.encoders import ConvEncoder, MLPEncoder
from .continuous.gaussian_decoder import GaussianDecoder
from .continuous.networks import Network
from .continuous.ppca import PPCA
from .continuous.vae import VAE, linear_vae
from .contract import Collapse, LatentModel, Statistics, SupportsEM, SupportsPosterior
from .families.abilities import AllowsFrozen, Conjugate, HasExpectedLogProb, SideBySide, TakesMissing
from .families.bernoulli import Bernoulli
from .families.categorical import Categorical
from .families.exponential import Exponential
from .families.exponential_family import ExponentialFamily
from .families.family import Family, Profile
from .families.family_of import FamilyOf
from .families.gamma import Gamma
from .families.gaussian import Gaussian
from .families.multinomial import Multinomial
from .families.negative_binomial import NegativeBinomial
from .families.normal_inverse_wishart import NormalInverseWishart
from .families.poisson import Poisson
from .families.product import Product
from .families.student_t import StudentT
from .mixtures.constructors import (
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
from .mixtures.imputed import Imputed
from .mixtures.kmeans import KMeans
from .mixtures.mixed import column_kinds, mixed
from .mixtures.mixture import Mixture
from .mixtures.starts import seed

__all__ = [
    "PPCA",
    "VAE",
    "AllowsFrozen",
    "BayesianMixture",
    "Bernoulli",
    "BernoulliDecoder",
    "BernoulliMixture",
    "Binarized",
    "Categorical",
    "CategoricalDecoder",
    "CategoricalMixture",
    "Collapse",
    "Conjugate",
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
    "HasExpectedLogProb",
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
    "SideBySide",
    "Statistics",
    "StudentT",
    "StudentTMixture",
    "SupportsEM",
    "SupportsPosterior",
    "TakesMissing",
    "check_family",
    "check_model",
    "column_kinds",
    "linear_vae",
    "mixed",
    "seed",
]

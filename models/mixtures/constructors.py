"""Short constructors of the usual mixtures: each is a `Mixture` of one family.

Longer than 300 lines because each of the nine documents its arguments and parameters in full.
"""

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
    """A Gaussian mixture: p(x) = sum_k weights[k] N(x; loc[k], Sigma[k]). It is `Mixture(Gaussian(...))`.

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        covariance: "full", "diag" or "spherical": each component has its own covariance; "tied", "tied-diag" or
            "tied-spherical": all components share one.
        prior: The prior of loc and Sigma: None for maximum likelihood, "weak" (the prior of Fraley & Raftery 2007,
            scaled by the data), or a `NormalInverseWishart`.
        concentration: None, or the parameter >= 1 of a symmetric Dirichlet prior on the weights (MAP).
        variance_floor: The least variance, in squared units of the data, for structures without correlations.

    Returns:
        A `Mixture`. Its parameters are `weights` (k,), on the simplex; `family.loc` (k, d), in the units of the data;
        and the scale. A full covariance has `family.scale_tril` (k, d, d), the Cholesky factors of Sigma; tied: (d, d).
        The others have `family.scale`, standard deviations: "diag" (k, d), "spherical" (k,), "tied-diag" (d,),
        "tied-spherical" ().

    Raises:
        TypeError: concentration is not a number.
        ValueError: An argument has another value than those above, or variance_floor is given for "full" or "tied".

    Example:
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import GaussianMixture
        >>> x = [[0.0], [1.0], [2.0], [20.0], [22.0]]
        >>> model = fit(GaussianMixture(components=2, features=1, covariance="tied"), x, EM()).model
        >>> sorted(model.family.loc.flatten().detach().round(decimals=3).tolist())
        [1.0, 21.0]

    References:
        Fraley and Raftery, Journal of the American Statistical Association 97 (2002), 611-631.
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
    """A mixture of multivariate t distributions, for data with outliers. It is `Mixture(StudentT(...))`.

    p(x) = sum_k weights[k] t(x; dof[k], loc[k], Sigma[k]). An outlier has a small influence on the estimates.

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        dof: Degrees of freedom that are known: one positive number for all components, or one for each. None
            estimates them.
        covariance: The structure of the scale matrix Sigma, as in `GaussianMixture`.
        prior: The prior of loc and Sigma, as in `GaussianMixture`.
        concentration: None, or the parameter >= 1 of a symmetric Dirichlet prior on the weights (MAP).

    Returns:
        A `Mixture`. Its parameters are `weights` (k,), on the simplex; `family.dof` (k,), without unit; and, in the
        units of the data, `family.loc` (k, d) and `family.scale_tril` or `family.scale`, with the shapes of
        `GaussianMixture`.

    Raises:
        TypeError: concentration is not a number.
        ValueError: An argument has another value than those above.

    Example:
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import StudentTMixture
        >>> x = [[-2.0], [-1.0], [0.0], [1.0], [2.0], [1000.0]]  # the mean is 166.7
        >>> model = fit(StudentTMixture(components=1, features=1, dof=2.0), x, EM()).model
        >>> abs(model.family.loc.item()) < 1
        True

    References:
        Peel and McLachlan, Statistics and Computing 10 (2000), 339-348.
    """
    return Mixture(StudentT(components, features, dof, covariance, prior), concentration)


def CategoricalMixture(
    components: int, levels: Sequence[int], prior: Prior = None, concentration: float | None = None
) -> Mixture:
    """Latent class analysis: columns of categories, independent given z. It is `Mixture(Categorical(...))`.

    p(x) = sum_k weights[k] product over d of probs[k, d, x[d]], where x[d] is a code, 0 .. levels[d] - 1.

    Args:
        components: k, the number of components (latent classes).
        levels: The number of categories of each column, d whole numbers.
        prior: The prior of probs: None for maximum likelihood; a `torch.distributions.Dirichlet` over the largest
            number of levels, of which each column uses its own; or "weak", which adds 1 / k row, spread evenly over the
            levels.
        concentration: None, or the parameter >= 1 of a symmetric Dirichlet prior on the weights (MAP).

    Returns:
        A `Mixture`. Its parameters are `weights` (k,), on the simplex, and `family.probs` (k, d, L), with L the largest
        number of levels. `family.probs` is 0 beyond the levels of a column.

    Raises:
        TypeError: concentration is not a number.
        ValueError: An argument has another value than those above.

    Example:
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import CategoricalMixture
        >>> x = [[0, 2], [1, 0], [0, 2], [1, 1]]
        >>> model = fit(CategoricalMixture(components=1, levels=[2, 3]), x, EM()).model
        >>> model.family.probs.detach().numpy().round(3)
        array([[[0.5 , 0.5 , 0.  ],
                [0.25, 0.25, 0.5 ]]])

    References:
        Goodman, Biometrika 61 (1974), 215-231.
    """
    return Mixture(Categorical(components, levels, prior), concentration)


def BernoulliMixture(
    components: int, features: int, prior: Prior = None, concentration: float | None = None
) -> Mixture:
    """A mixture for columns of 0 and 1, independent given z. It is `Mixture(Bernoulli(...))`.

    p(x) = sum_k weights[k] product over d of probs[k, d]^x[d] (1 - probs[k, d])^(1 - x[d]).

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        prior: The prior of probs: None for maximum likelihood; a `torch.distributions.Beta`; or "weak", which adds 1 /
            k row with half a one in each column.
        concentration: None, or the parameter >= 1 of a symmetric Dirichlet prior on the weights (MAP).

    Returns:
        A `Mixture`. Its parameters are `weights` (k,), on the simplex, and `family.probs` (k, d), the probabilities of
        a 1.

    Raises:
        TypeError: concentration is not a number.
        ValueError: An argument has another value than those above.

    Example:
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import BernoulliMixture
        >>> x = [[1, 0], [1, 1], [1, 0], [0, 0]]
        >>> model = fit(BernoulliMixture(components=1, features=2), x, EM()).model
        >>> model.family.probs.detach().numpy().round(3)
        array([[0.75, 0.25]])

    References:
        Bishop, Pattern Recognition and Machine Learning (2006), section 9.3.3.
    """
    return Mixture(Bernoulli(components, features, prior), concentration)


def PoissonMixture(components: int, features: int, prior: Prior = None, concentration: float | None = None) -> Mixture:
    """A mixture for counts, independent given z. It is `Mixture(Poisson(...))`.

    p(x) = sum_k weights[k] product over d of rate[k, d]^x[d] exp(-rate[k, d]) / x[d]!.

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        prior: The prior of rate: None for maximum likelihood; a `torch.distributions.Gamma`; or "weak", which adds 1 /
            k row with the mean of the data.
        concentration: None, or the parameter >= 1 of a symmetric Dirichlet prior on the weights (MAP).

    Returns:
        A `Mixture`. Its parameters are `weights` (k,), on the simplex, and `family.rate` (k, d), mean counts per row.

    Raises:
        TypeError: concentration is not a number.
        ValueError: An argument has another value than those above.

    Example:
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import PoissonMixture
        >>> x = [[0], [1], [2], [40], [44]]
        >>> model = fit(PoissonMixture(components=2, features=1), x, EM()).model
        >>> sorted(model.family.rate.flatten().detach().round(decimals=3).tolist())
        [1.0, 42.0]

    References:
        Karlis and Xekalaki, International Statistical Review 73 (2005), 35-58.
    """
    return Mixture(Poisson(components, features, prior), concentration)


def NegativeBinomialMixture(
    components: int, features: int, prior: Prior = None, concentration: float | None = None
) -> Mixture:
    """A mixture for counts that vary more than Poisson counts. It is `Mixture(NegativeBinomial(...))`.

    Given z = k, column d has mean m = `family.mean[k, d]` and variance m + m^2 / `family.concentration[k, d]`.

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        prior: The prior of the concentration of the family: None for maximum likelihood; a `torch.distributions.Gamma`;
            or "weak": Gamma(1, 0.01).
        concentration: None, or the parameter >= 1 of a symmetric Dirichlet prior on the weights (MAP). This is not
            the concentration of the family.

    Returns:
        A `Mixture`. Its parameters are `weights` (k,), on the simplex; `family.mean` (k, d), counts per row; and
        `family.concentration` (k, d), without unit.

    Raises:
        TypeError: concentration is not a number.
        ValueError: An argument has another value than those above.

    Example:
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import NegativeBinomialMixture
        >>> x = [[0], [0], [1], [9], [15]]
        >>> model = fit(NegativeBinomialMixture(components=1, features=1), x, EM()).model
        >>> round(model.family.mean.item(), 3)
        5.0

    References:
        Zhou and Carin, IEEE Transactions on Pattern Analysis and Machine Intelligence 37 (2015), 307-320.
    """
    return Mixture(NegativeBinomial(components, features, prior), concentration)


def MultinomialMixture(
    components: int, features: int, trials: int | None = None, prior: Prior = None, concentration: float | None = None
) -> Mixture:
    """A mixture for rows of counts over the same d categories, such as words. It is `Mixture(Multinomial(...))`.

    p(x | n) = sum_k weights[k] n! product over d of probs[k, d]^x[d] / x[d]!, where n is the sum of the row. The sum is
    not modelled, and may differ from row to row.

    Args:
        components: k, the number of components.
        features: d, the number of categories, at least 2.
        trials: The sum of the rows that `sample` draws. None takes the average sum of the data, rounded.
        prior: The prior of probs: None for maximum likelihood; a `torch.distributions.Dirichlet`; or "weak", which adds
            1 / k count, spread evenly.
        concentration: None, or the parameter >= 1 of a symmetric Dirichlet prior on the weights (MAP).

    Returns:
        A `Mixture`. Its parameters are `weights` (k,), on the simplex, and `family.probs` (k, d), the probability of
        each category.

    Raises:
        TypeError: concentration is not a number.
        ValueError: An argument has another value than those above.

    Example:
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import MultinomialMixture
        >>> x = [[2, 1, 1], [4, 0, 0]]
        >>> model = fit(MultinomialMixture(components=1, features=3), x, EM()).model
        >>> model.family.probs.detach().numpy().round(3)
        array([[0.75 , 0.125, 0.125]])

    References:
        Nigam, McCallum, Thrun and Mitchell, Machine Learning 39 (2000), 103-134.
    """
    return Mixture(Multinomial(components, features, trials, prior), concentration)


def ExponentialMixture(
    components: int, features: int, prior: Prior = None, concentration: float | None = None
) -> Mixture:
    """A mixture for waiting times, independent given z. It is `Mixture(Exponential(...))`.

    p(x) = sum_k weights[k] product over d of rate[k, d] exp(-rate[k, d] x[d]), x[d] >= 0.

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        prior: The prior of rate: None for maximum likelihood; a `torch.distributions.Gamma`; or "weak", which adds 1 /
            k row with the mean of the data.
        concentration: None, or the parameter >= 1 of a symmetric Dirichlet prior on the weights (MAP).

    Returns:
        A `Mixture`. Its parameters are `weights` (k,), on the simplex, and `family.rate` (k, d), the inverse of the
        mean, in 1 / units of the column.

    Raises:
        TypeError: concentration is not a number.
        ValueError: An argument has another value than those above.

    Example:
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import ExponentialMixture
        >>> x = [[0.5], [1.5], [4.0]]
        >>> model = fit(ExponentialMixture(components=1, features=1), x, EM()).model
        >>> round(model.family.rate.item(), 3)
        0.5

    References:
        Jewell, The Annals of Statistics 10 (1982), 479-484.
    """
    return Mixture(Exponential(components, features, prior), concentration)


def GammaMixture(components: int, features: int, prior: Prior = None, concentration: float | None = None) -> Mixture:
    """A mixture for positive numbers, independent given z. It is `Mixture(Gamma(...))`.

    p(x) = sum_k weights[k] product over d of b^a x^(a - 1) exp(-b x) / Gamma(a), where x is x[d], a is
    `family.concentration[k, d]` and b is `family.rate[k, d]`.

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        prior: None for maximum likelihood; `torch.distributions.Gamma`s by parameter of the family, {"concentration":
            ..., "rate": ...}, or one of them; or "weak": Gamma(1, 0.01) on the concentration, which keeps a component
            from collapsing onto a few rows.
        concentration: None, or the parameter >= 1 of a symmetric Dirichlet prior on the weights (MAP). This is not
            the concentration of the family.

    Returns:
        A `Mixture`. Its parameters are `weights` (k,), on the simplex; `family.concentration` (k, d), without unit; and
        `family.rate` (k, d), in 1 / units of the column.

    Raises:
        TypeError: concentration is not a number.
        ValueError: An argument has another value than those above.

    Example:
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import GammaMixture
        >>> x = [[1.0], [2.0], [6.0]]
        >>> model = fit(GammaMixture(components=1, features=1), x, EM()).model
        >>> round(model.family.moments().mean.item(), 3)  # concentration / rate
        3.0

    References:
        Wiper, Rios Insua and Ruggeri, Journal of Computational and Graphical Statistics 10 (2001), 440-454.
    """
    return Mixture(Gamma(components, features, prior), concentration)

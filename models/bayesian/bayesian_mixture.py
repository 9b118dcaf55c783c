"""The mixture with a distribution over its parameters: a Pyro model/guide pair and its bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor
from torch.distributions import Distribution

from ...data.traced_rows import any_missing
from ..attribute_names import is_new_name
from ..families.family import Family
from ..families.normal_inverse_wishart import NormalInverseWishart
from ..families.observed_values import ObservedValues
from ..mixtures.e_step import label_log_mask
from ..module import Recorded
from ..param_store import local_params
from .dirichlet_weights import DirichletWeights
from .draws_in_plates import ComponentsInPlates, log_joint, split_plates
from .exchangeable_labels import ExchangeableLabels
from .parameter_sites import Theta, draw_sites
from .posterior_for_family import posterior_for_family
from .posterior_predictive import PosteriorPredictive
from .sampled_posterior import PosteriorDraws
from .stick_breaking_weights import StickBreakingWeights
from .unfitted_copy import fresh_family
from .variational_bayes import VariationalBayes

Prior = str | NormalInverseWishart | Distribution | Mapping[str, Distribution] | list | tuple | None


class BayesianMixture(PosteriorPredictive, ExchangeableLabels, VariationalBayes):
    """weights ~ Dirichlet(concentration), theta ~ prior; z ~ Categorical(weights), x | z = k ~ family[k].

    A Pyro model/guide pair with a distribution q(weights, theta) in place of parameters. With a conjugate prior
    q(z) q(weights) q(theta) is the mean-field posterior in closed form, and all engines raise the same bound,

        sum_i log sum_k exp(E[log weights_k] + E[log p(x_i | theta_k)]) - KL(q(weights, theta) || p(weights, theta)).

    `EM()` is variational Bayes, `OnlineEM()` stochastic variational inference with natural gradients (Hoffman et al.
    2013), `SVI()` plain gradient ascent. `NUTS()` samples from the posterior itself.

    `weights` and `family` are at the mean of q (at the median of a guide), and read like those of a `Mixture`. `draw`
    gives draws of the parameters, for any interval. Hyperparameters of q, for Gaussians by scikit-learn's names:
    weight_concentration_ is `shares.concentration`, mean_precision_ `beliefs.location_weight`, means_ `family.loc`,
    degrees_of_freedom_ `beliefs.dof`, covariances_ `family.scale_tril @ family.scale_tril.mT`. For other families
    they are called `beliefs.rate_concentration`, `beliefs.rate_rate` and so on.

    Missing values are latent variables of the conjugate q, with their own mean-field distribution. Therefore q is
    about as narrow as if they had been observed, and its bound is lower than that of the Pyro pair, of a guide or of
    `NUTS()`, which integrate missing values out exactly. Where many values are missing, use those for intervals.

    Bishop, Pattern Recognition and Machine Learning (2006), 10.2; Attias, UAI 1999.

    Args:
        family: `Gaussian`, `Poisson`, `Exponential`, `Bernoulli`, `Categorical`, `Multinomial` or a `Product` of these;
            with a guide and priors by parameter name, any family.
        prior: None for the family's own, or "weak" if it has none. "weak" is the same for every number of components,
            so that bounds compare. For Gaussians it counts 0.01 rows at the mean of the data, and d + 2 degrees of
            freedom with the covariance of all data: about d + 2 rows pull the covariance of each component to that. On
            Old Faithful it moves the s.d. of short eruptions from 0.263 to 0.284; "weak" of a `GaussianMixture`, whose
            scale is smaller by k^(2 / d), moves it to 0.266. Or a `NormalInverseWishart`, `Gamma`, `Beta` or
            `Dirichlet`, as the family takes it (concentrations below 1 are allowed here); for a `Product` a list; with
            a guide also {parameter: distribution}.
        concentration: The concentration of the Dirichlet prior of the weights, above 0; a small one such as 0.01
            empties superfluous components. With `stick_breaking`, the concentration of the Dirichlet process.
        stick_breaking: A Dirichlet process, truncated at k components, as the prior of the weights.
        guide: None for the posterior in closed form; or a class of Pyro's guides, such as AutoNormal,
            AutoMultivariateNormal or AutoDelta (or a function of a Pyro program and init_loc_fn that makes one), over
            weights and theta, with z summed out. `SVI()` fits it; `EM()` fits an AutoDelta: maximum a posteriori under
            any prior. A `PosteriorDraws` is how a sampler's result is saved.

    Raises:
        TypeError: family is no `Family` or has no conjugate prior, or guide is not one of those above.
        ValueError: concentration is not positive, there are sticks for one component, or the prior does not fit.

    Example:
        >>> import numpy as np
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import BayesianMixture, Poisson
        >>> x = np.array([[0], [1], [2], [1], [9], [8], [10]])
        >>> model = fit(BayesianMixture(Poisson(2, 1)), x, EM()).model
        >>> model.summary().round(1).to_dict("list")
        {'weight': [0.6, 0.4], 'rate of column 0': [1.2, 8.6]}
        >>> tuple(model.draw(1000, seed=0)["rate"].shape)  # for intervals
        (1000, 2, 1)
    """

    def __init__(
        self,
        family: Family,
        prior: Prior = None,
        concentration: float = 1.0,
        stick_breaking: bool = False,
        guide: Callable[..., Any] | PosteriorDraws | None = None,
    ):
        Recorded.__init__(self)  # not that of Mixture: weights and family are read from q
        if not isinstance(family, Family):
            raise TypeError(f"got {type(family).__name__}, expected a Family such as Gaussian(components, features)")
        if not isinstance(concentration, Real) or not 0 < concentration < float("inf"):
            raise ValueError(f"concentration is {concentration!r}, expected a positive number")
        instance = isinstance(guide, torch.nn.Module)
        if instance or not (guide is None or callable(guide) or isinstance(guide, PosteriorDraws)):
            what = f"a {type(guide).__name__} that is made already" if instance else repr(guide)
            raise TypeError(
                f"guide is {what}, expected None or the class of one of Pyro's guides, as in guide=AutoNormal: it is "
                "made for the parameters of this model"
            )
        if stick_breaking and family.components < 2:
            raise ValueError("got stick_breaking with one component, expected at least two: there is no stick to break")
        conjugate = guide is None
        try:
            self.beliefs = posterior_for_family(family, prior, conjugate)
        except ValueError as error:
            if not (isinstance(prior, Mapping) and conjugate):
                raise
            raise ValueError(
                f"{error}; other priors by name have no posterior in closed form: pass a guide, such as "
                "guide=AutoNormal"
            ) from error
        kind = StickBreakingWeights if stick_breaking else DirichletWeights
        self.shares = kind(family.components, concentration, conjugate)
        vars(self)["_blank_family"] = fresh_family(family)  # not a module inside, whose parameters would count
        self._free = self._blank_family.free_parameters() + family.components - 1
        self._set_q(guide)

    def __setattr__(self, name: str, value: Any) -> None:
        inside = is_new_name(self, name, value) and name in self.names_to_set()
        if name in ("weights", "family") or inside:
            raise AttributeError(
                f"the {name} of a BayesianMixture cannot be set, because they are the mean of q: give a prior, or set "
                f"the {name} of a Mixture such as .centre()"
            )
        super().__setattr__(name, value)

    # the Pyro pair

    @local_params
    def model(self, x: Any, weights: Any = None, labels: Any = None, rows: float | None = None) -> Tensor:
        """Pyro model: weights and theta ~ prior; plate("rows"): z ~ Categorical(weights); x ~ family[z]. Returns z.

        Sites: weights (or sticks), those of theta, such as loc and covariance of a Gaussian, and z. Arguments as in
        `Mixture.model`.
        """
        x, weights, labels, scale = self._pair_arguments(x, weights, labels, rows)
        shares: Theta = {}
        draw_sites(self.shares.prior(shares), shares, pyro.sample)
        theta: Theta = {}
        draw_sites(self.beliefs.prior(theta), theta, pyro.sample)
        each, plates = split_plates(shares | theta, self.shares.supports() | self.beliefs.supports())
        views = [self.q.at(one) for one in each]
        family, log_weights = views[0]
        if plates:
            log_weights = torch.stack([own for _, own in views]).reshape(*plates, -1)
        with pyro.plate("rows", len(x), dim=-1), poutine.scale(scale=scale):
            z = pyro.sample("z", dist.Categorical(logits=log_weights), infer={"enumerate": "parallel"})
            if labels is not None:
                unlike = (labels >= 0) & (labels != z)
                pyro.factor("labels", torch.where(unlike, -torch.inf, 0.0).to(x.dtype))
            if plates:
                component: Any = ComponentsInPlates(views, plates, z)
            else:
                component = ObservedValues(family, z) if any_missing(x) else family.component(z)
            pyro.sample("x", component, obs=x)
        return z

    @local_params
    def guide(self, x: Any, weights: Any = None, labels: Any = None, rows: float | None = None) -> Tensor:
        """Pyro guide: weights and theta ~ q; z ~ q(z | x). Returns z. Arguments as in `model`.

        q(z | x) is the E-step of the conjugate q, else p(z | x, theta) at the theta that was drawn. It is detached.
        """
        x, weights, labels, scale = self._pair_arguments(x, weights, labels, rows)
        views, plates = self.q.guide_sites()
        with torch.no_grad():
            joint = log_joint(views, plates, x)
            joint = joint if labels is None else joint + label_log_mask(labels, joint.shape[-1])
            log_weights = torch.stack([own for _, own in views]).reshape(*plates, -1) if plates else views[0][1]
            logits = torch.where(joint.amax(-1, keepdim=True) > -torch.inf, joint, log_weights)
        with pyro.plate("rows", len(x), dim=-1), poutine.scale(scale=scale):
            return pyro.sample("z", dist.Categorical(logits=logits))

    # what the pair implies

    def posterior(self, x: Any, labels: Any = None) -> dist.Categorical:
        """q(z = k | x) as a Categorical with batch shape (n,); for draws of theta, the mean of p(z | x, theta).

        Args:
            x: Rows (n, d).
            labels: (n,) known components, -1 where unknown, or None.

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 1)), [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]])
            >>> model.posterior([[1.0], [10.0]]).probs.round(decimals=2).tolist()
            [[0.99, 0.01], [0.0, 1.0]]
        """
        return super().posterior(x, labels)

    def bound(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """The part of each row in the bound of log p(all rows), in nats: `objective` without gradient.

        It is an expectation of log densities, while `evidence` is the log of an expectation. The other part of the
        bound is `global_term`.

        Args:
            x: Rows (n, d).
            labels: (n,) known components, -1 where unknown, or None.

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> x = [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]]
            >>> model = seed(BayesianMixture(Poisson(2, 1)), x)
            >>> bool(model.bound(x).sum() + model.global_term() < model.evidence(x).sum())
            True
        """
        return super().bound(x, labels)

    def objective(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """The part of each row in the bound, in nats, differentiable in the parameters of q and in x.

        log sum_k exp(E[log weights_k] + E[log p(x | theta_k)]) for the conjugate q; for others E_q[log p(x | theta)], a
        mean over draws. Arguments as in `bound`.
        """
        x = self._checked_table(x)
        joint = self._log_joints(x, self._checked_labels(labels, len(x)))
        return torch.logsumexp(joint, -1).mean(0)

    def global_term(self) -> Float[Tensor, ""]:
        """-KL(q(weights, theta) || p(weights, theta)) in nats; for an AutoDelta, log p(weights, theta)."""
        return self.q.global_term()

    def summary(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        """As `Mixture.summary`, with the components at the mean of q."""
        return super().summary(*args, **kwargs)

    def free_parameters(self) -> int:
        """The number of free parameters of the family, plus k - 1 weights: the dimension of (weights, theta)."""
        return self._free

    def batch(self, rows: Any, generators: Any) -> None:
        """None: restarts run one after the other."""
        return None

"""The mixture with a distribution over its parameters: variational Bayes on the engines of maximum likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float, Int
from pyro import poutine
from torch import Tensor
from torch.distributions import Distribution

from ...data.chunked_methods import by_chunks
from ..contract import Statistics
from ..families.family import Family
from ..families.missing_values import log_prob_of_rows as log_prob
from ..families.normal_inverse_wishart import NormalInverseWishart
from ..families.observed_values import ObservedValues
from ..mixtures.e_step import allowed, sum_blocks
from ..mixtures.imputed import Imputed
from ..mixtures.mixture import Mixture
from ..mixtures.starts import draw_start
from ..module import Recorded, local_params, on_the_cpu
from ..random_state import fixed_seed
from .beliefs import Theta, filled, log_density, remade
from .beliefs_about import beliefs_about
from .conjugate_posterior import Conjugate
from .guided_posterior import Guided
from .posterior_draws import PosteriorDraws
from .sampled_posterior import Sampled
from .weight_beliefs import DirichletWeights, StickWeights

Prior = str | NormalInverseWishart | Distribution | Mapping[str, Distribution] | list | tuple | None


class BayesianMixture(Mixture):
    """weights ~ Dirichlet(concentration), theta ~ prior; z ~ Categorical(weights), x | z = k ~ family[k]: a Pyro
    model/guide pair that has a distribution q(weights, theta) instead of parameters.

    With a conjugate prior, q(z) q(weights) q(theta) is the mean-field posterior in closed form, and one engine after
    the other raises one and the same bound, sum_i log sum_k exp(E[log weights_k] + E[log p(x_i | theta_k)]) -
    KL(q(weights, theta) || p): `EM()` is variational Bayes, `OnlineEM()` is stochastic variational inference with
    natural gradients (Hoffman et al. 2013), `SVI()` climbs by plain gradients. `NUTS()` draws from the posterior
    itself.

    family: `Gaussian`, `Poisson`, `Exponential`, `Bernoulli`, `Categorical`, `Multinomial` or a `Product` of such; any
    family with a guide and priors by parameter name. prior: None for the family's own, else "weak": little more than
    the units of the data, and the same for every k, so that bounds of different sizes compare; a
    `NormalInverseWishart`, `Gamma`, `Beta` or `Dirichlet` as the family takes it; of a Product a list. Concentrations
    below 1 are fine here. concentration: of the weights; a small one such as 0.01 empties superfluous components.
    stick_breaking: a Dirichlet process with this concentration, cut off at k components, instead.

    guide: None for the conjugate posterior; or a class of Pyro's guides over the parameters, such as AutoNormal,
    AutoMultivariateNormal or AutoDelta (or a function that makes one of a program and init_loc_fn), for which z is
    summed out; `SVI()` fits it, and `EM()` an AutoDelta: maximum a posteriori under any prior.

    `weights`, `family`: at the posterior mean (the median of a guide), to be read like those of a `Mixture`.
    Missing cells: to the conjugate q they are latent variables like z, with a mean-field q of their own, so that the
    M-step counts imputed cells as observations. Its posterior is then about as narrow as if they had been seen, and
    its bound lower than that of the Pyro pair, of a guide or of `NUTS()`, which sum such cells out exactly. Where many
    are missing, take these for intervals.
    Bishop, Pattern Recognition and Machine Learning (2006), 10.2; Attias, UAI 1999.

    Hyperparameters of q, for Gaussians in scikit-learn's words: weight_concentration_ is `shares.concentration`,
    mean_precision_ `beliefs.location_weight`, means_ `family.loc`, degrees_of_freedom_ `beliefs.dof`, covariances_
    `family.scale_tril @ family.scale_tril.mT`; of other families `beliefs.rate_concentration`, `beliefs.rate_rate`
    and so on. Draws of the parameters, for any interval: `draw`.
    """

    made: Family
    q: Any

    def __init__(
        self,
        family: Family,
        prior: Prior = None,
        concentration: float = 1.0,
        stick_breaking: bool = False,
        guide: Callable[..., Any] | PosteriorDraws | None = None,
    ):
        Recorded.__init__(self)
        if not isinstance(family, Family):
            raise TypeError(f"got {type(family).__name__}, expected a Family such as Gaussian(components, features)")
        if not isinstance(concentration, Real) or not 0 < concentration < float("inf"):
            raise ValueError(f"concentration is {concentration!r}, expected a positive number")
        made = isinstance(guide, torch.nn.Module)
        if made or not (guide is None or callable(guide) or isinstance(guide, PosteriorDraws)):
            what = f"a {type(guide).__name__} that is made already" if made else repr(guide)
            raise TypeError(
                f"guide is {what}, expected None or the class of one of Pyro's guides, as in guide=AutoNormal: it is "
                "made for the parameters of this model"
            )
        if stick_breaking and family.components < 2:
            raise ValueError("got stick_breaking with one component, expected at least two: there is no stick to break")
        conjugate = guide is None
        try:
            self.beliefs = beliefs_about(family, prior, conjugate)
        except ValueError as error:
            if not (isinstance(prior, Mapping) and conjugate):
                raise
            raise ValueError(
                f"{error}; of other priors by name there is no posterior in closed form: pass a guide, such as "
                "guide=AutoNormal"
            ) from error
        self.shares = (StickWeights if stick_breaking else DirichletWeights)(
            family.components, concentration, conjugate
        )
        vars(self)["made"] = remade(family)  # of which the parameters say nothing
        self._free = self.made.free_parameters() + family.components - 1
        self._take(guide)

    def _take(self, guide: Any) -> None:
        if guide is None:
            vars(self)["q"] = Conjugate(self.shares, self.beliefs)
        elif isinstance(guide, PosteriorDraws):
            self.q = Sampled(self.shares, self.beliefs, guide)
        else:
            self.q = Guided(self.shares, self.beliefs, guide)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("weights", "family"):
            raise AttributeError(
                f"the {name} of a BayesianMixture are those at the mean of q, expected them to be read only: give a "
                "prior, or set those of a Mixture such as .centre()"
            )
        super().__setattr__(name, value)

    # where q is, as a mixture to be read

    @property
    def weights(self) -> Float[Tensor, " k"]:  # type: ignore[override]
        """E_q[weights]."""
        return self.q.mean()[0].detach()

    @property
    def family(self) -> Family:  # type: ignore[override]
        """The family at the mean of q."""
        return self.q.mean()[1]

    @property
    def takes_missing(self) -> bool:
        """Whether rows may have NaN, for cells that were not seen."""
        return self.beliefs.likelihood.takes_missing

    @property
    def has_exact_bound(self) -> bool:
        """Whether the bound has a closed form, for SVI(elbo="exact")."""
        return self.q.has_exact_bound

    def alike(self, labels: Any = None) -> Bool[Tensor, "k k"]:
        """Which components may exchange their labels: those that neither the priors of theta nor labels of rows, (n,)
        with -1 where unknown, tell apart."""
        same = self.beliefs.alike()
        named = torch.as_tensor([] if labels is None else labels, dtype=torch.long).unique()
        named = named[named >= 0]
        same[named] = same[:, named] = False
        return same | torch.eye(self._k, dtype=torch.bool)

    def log_labellings(self, labels: Any = None) -> float:
        """log K! - log M! over the K components that are `alike`, with M the number of those that are empty: of less
        than a row, or where rows are not counted, of a weight below 0.01. 0 for sticks, whose order means something."""
        if not self.shares.exchangeable:
            return 0.0
        empty = self.q.empty()
        groups = self.alike(labels).unique(dim=0)
        return sum(math.lgamma(int(g.sum()) + 1) - math.lgamma(int((g & empty).sum()) + 1) for g in groups)

    @property
    def is_sampled(self) -> bool:
        """Whether q consists of the draws of a sampler."""
        return self.q.is_sampled

    @property
    def is_point(self) -> bool:
        """Whether q is a single point, that of an AutoDelta."""
        return self.q.is_point

    @property
    def is_set(self) -> bool:
        """Whether q has begun: by a fit, `seed`, or a file."""
        return self.q.is_set

    # the Pyro pair

    @local_params
    def model(self, x: Any, weights: Any = None, labels: Any = None, rows: float | None = None) -> Tensor:
        """Pyro model: weights and theta ~ prior; plate("rows"): z ~ Categorical(weights); x ~ family[z]. Returns z.

        Arguments as in `Mixture.model`. The sites of theta: see the `Beliefs` of the family."""
        x, weights, labels, scale = self._intake(x, weights, labels, rows)
        shares: Theta = {}
        filled(self.shares.prior(shares), shares, pyro.sample)
        theta: Theta = {}
        filled(self.beliefs.prior(theta), theta, pyro.sample)
        family, log_weights = self.q.at(shares | theta)
        with pyro.plate("rows", len(x)), poutine.scale(scale=scale):
            z = pyro.sample("z", dist.Categorical(logits=log_weights), infer={"enumerate": "parallel"})
            if labels is not None:
                unlike = (labels >= 0) & (labels != z)
                pyro.factor("labels", torch.where(unlike, -torch.inf, 0.0).to(x.dtype))
            component: Any = ObservedValues(family, z) if x.isnan().any() else family.component(z)
            pyro.sample("x", component, obs=x)
        return z

    @local_params
    def guide(self, x: Any, weights: Any = None, labels: Any = None, rows: float | None = None) -> Tensor:
        """Pyro guide: weights and theta ~ q; z ~ q(z | x), the E-step of the conjugate q, or p(z | x, theta) at the
        theta that was drawn; detached."""
        x, weights, labels, scale = self._intake(x, weights, labels, rows)
        family, log_weights = self.q.sites()
        with torch.no_grad():
            joint = log_prob(family, x) + log_weights
            joint = joint if labels is None else joint + allowed(labels, len(log_weights))
            logits = torch.where(joint.amax(-1, keepdim=True) > -torch.inf, joint, log_weights)
        with pyro.plate("rows", len(x)), poutine.scale(scale=scale):
            return pyro.sample("z", dist.Categorical(logits=logits))

    # what the pair implies

    def posterior(self, x: Any, labels: Any = None) -> dist.Categorical:
        """q(z = k | x) as a Categorical with batch shape (n,); of draws of theta the mean of p(z | x, theta)."""
        return super().posterior(x, labels)

    def bound(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """What each row has of the bound of log p(all rows), in nats: E_q of the log density, where `evidence` is the
        log of its mean. No gradient."""
        return super().bound(x, labels)

    def summary(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        """The components at the mean of q, as in `Mixture.summary`."""
        self._require_parameters()
        return super().summary(*args, **kwargs)

    def objective(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """What each row has of the bound, in nats: log sum_k exp(E[log weights_k] + E[log p(x | theta_k)]) of the
        conjugate q, E_q[log p(x | theta)] of others, by draws. Differentiable in the parameters of q."""
        x = self._table(x)
        joint = self._joints(x, self._known(labels, len(x)))
        return torch.logsumexp(joint, -1).mean(0)

    @by_chunks
    def evidence(self, x: Any) -> Float[Tensor, " n"]:
        """log E_q[p(x | weights, theta)] of each row in nats: the posterior predictive density, in closed form for the
        conjugate q, else the mean over draws."""
        with torch.no_grad():
            self._require_parameters()
            return self.q.log_predictive(self._table(x))

    def global_term(self) -> Float[Tensor, ""]:
        """-KL(q(weights, theta) || p(weights, theta)) in nats; of an AutoDelta log p(weights, theta)."""
        return self.q.global_term()

    def sample(self, n: int, seed: int | None = None, labels: bool = False) -> Any:
        """n rows (n, d) of the posterior predictive distribution; with labels=True also their components (n,)."""
        if not isinstance(n, Integral) or n < 1:
            raise ValueError(f"n is {n!r}, expected a whole number of rows of at least 1")
        self._require_parameters()
        with torch.no_grad(), fixed_seed(seed):
            x, z = self.q.sample(int(n))
        return (x.to(torch.float64), z) if labels else x.to(torch.float64)

    def impute(self, x: Any) -> Imputed:
        """As in `Mixture.impute`, with q(z | x) and the family at the mean of q. How uncertain parameters are is not in
        its standard deviations, as it is in the tables of `draw_missing`."""
        return super().impute(x)

    @torch.no_grad()
    def draw_missing(self, x: Any, draws: int = 1, seed: int | None = None) -> Float[Tensor, "m n d"]:
        """The table x (n, d) several times, its missing cells drawn given the seen ones of their row, each time at
        parameters drawn from q: proper multiple imputations (Rubin 1987). The same draws for the same seed."""
        x = self._table(x)
        with fixed_seed(seed):
            theta = self.draw(draws)
            each = [self.mixture({name: value[i] for name, value in theta.items()}) for i in range(int(draws))]
            return torch.cat([mixture.draw_missing(x) for mixture in each])

    def free_parameters(self) -> int:
        """Those of the family, and k - 1 weights: the dimensions of theta."""
        return self._free

    def batch(self, rows: Any, generators: Any) -> None:
        """None: restarts run in turn."""
        return None

    # the distribution over the parameters

    def draw(self, draws: int, seed: int | None = None) -> Theta:
        """Draws of the parameters from q: {"weights": (draws, k), "loc": (draws, k, d), ...}. The same ones for
        the same seed."""
        return self.draw_with_density(draws, seed)[0]

    def draw_with_density(self, draws: int, seed: int | None = None) -> tuple[Theta, Float[Tensor, " s"]]:
        """The same, and log q of each, over weights or sticks and the rest; NaN of a sampler's draws."""
        self._require_parameters()
        if not isinstance(draws, Integral) or draws < 1:
            raise ValueError(f"draws is {draws!r}, expected a whole number of at least 1")
        with fixed_seed(seed):
            return self.q.draw(int(draws))

    @torch.no_grad()
    def log_likelihood(self, theta: Theta, x: Any) -> Float[Tensor, "s n"]:
        """log p(x | theta) of each draw of `draw` and each row, z summed out, in nats."""
        x = self._table(x)
        return torch.stack([torch.logsumexp(log_prob(f, x) + weights, -1) for f, weights in self.views(theta)])

    @torch.no_grad()
    def log_prior(self, theta: Theta) -> Float[Tensor, " s"]:
        """log p(weights, theta) of each draw, in nats: over the sticks, if weights are made of sticks."""
        return log_density(self.shares.prior(theta), theta) + log_density(self.beliefs.prior(theta), theta)

    @torch.no_grad()
    def draw_labels(self, x: Any, draws: int = 1, seed: int | None = None) -> Int[Tensor, "s n"]:
        """z of each row, drawn anew with each draw of theta: z ~ p(z | x, theta), theta ~ q."""
        x = self._table(x)
        with fixed_seed(seed):
            views = self.views(self.draw(draws))
            return torch.stack([dist.Categorical(logits=log_prob(f, x) + w).sample() for f, w in views])

    def views(self, theta: Theta) -> list[tuple[Family, Float[Tensor, " k"]]]:
        """The family and the log weights at each draw of `draw`, to be read."""
        self._require_parameters()
        names = self.beliefs.supports()
        return [
            (self.beliefs.family_at({name: theta[name][i] for name in names}), weights.log())
            for i, weights in enumerate(theta["weights"])
        ]

    def mixture(self, theta: Theta) -> Mixture:
        """The plain `Mixture` that one draw of the parameters is: {"weights": (k,), ...} without the draws' dim."""
        own = {name: theta[name] for name in self.beliefs.supports()}
        return self._plain(theta["weights"], self.beliefs.family_at(own))

    def centre(self) -> Mixture:
        """The plain `Mixture` with the mean weights and the family at the mean of theta."""
        return self._plain(self.weights, self.family)

    # the two steps of EM

    @torch.no_grad()
    def expect(self, x: Any, weights: Any = None, labels: Any = None, dtype: torch.dtype | None = None) -> Statistics:
        """The E-step of variational Bayes: that of EM at the expected natural parameters and log weights."""
        rows, weights, labels = self._summed(x, weights, labels)
        self._require_parameters()
        family, log_weights = self.q.view()
        return self._possible(x, sum_blocks(family, log_weights, rows, weights, labels, dtype))

    @torch.no_grad()
    def maximize(self, statistics: Statistics, length: float = 1.0) -> None:
        """The M-step of variational Bayes: hyperparameters = those of the prior + statistics. Of an AutoDelta the
        maximum of the expected log joint density, which is climbed to by gradients if need be."""
        self.q.maximize(statistics)

    @property
    def has_expected_log_joint(self) -> bool:
        """No: its parameters are those of beliefs."""
        return False

    @torch.no_grad()
    def remeasure(self, statistics: Statistics) -> Statistics:
        """Statistics of before the last M-step, as the family measures now."""
        return replace(statistics, total=self.beliefs.remeasure(statistics.weight, statistics.total))

    @property
    def generalized(self) -> bool:
        """Whether `maximize` takes a step that may be too long: it does not."""
        return False

    # starting, checking, relabelling

    @on_the_cpu
    @torch.no_grad()
    def initialize(self, x: Any, weights: Any, generator: torch.Generator, redraw: bool = True) -> None:
        """Learn the names and units of the data, and a weak prior from them; then, unless q has begun and redraw=False,
        begin anew: weighted k-means++ in the family's `coordinates`, responsibilities softened to 0.9 r + 0.1 / k, and
        an M-step. A q that stands is the same distribution as before; the coordinates of a guide stay those of the data
        where it began."""
        frozen = [name for name, parameter in self.named_parameters() if not parameter.requires_grad]
        if frozen:
            raise TypeError(
                f"{frozen[0].removesuffix('_unconstrained')} is frozen, expected a q that can move: give what is known "
                "a narrow prior, or fit a Mixture"
            )
        rows, moments = self._looked_at(x, weights)
        if self.q.is_sampled:
            self.q.begin({})  # which says why not
        if self.q.is_set and not redraw:
            self.beliefs.set_units(moments)
            return
        like = self.beliefs.likelihood
        start = draw_start(rows, self._k, [generator], lambda x: like.coordinates(x, moments), self.softness)
        theta = self.shares.start(start.responsibilities.sum(0))
        theta = theta | self.beliefs.start(start.x, start.responsibilities, start.locations, moments)
        self.q.begin(theta)

    def check(self) -> None:
        """Raise `Collapse` if the point of an AutoDelta has run into a singularity; no other q does."""
        if self.q.is_point:
            super().check()

    @torch.no_grad()
    def permute(self, order: Any) -> None:
        """Relabel the components in place: component j becomes the former component order[j]. Raises ValueError if the
        prior tells some of these apart, so that their labels mean something."""
        order = self._ordered(order)
        moved = ~self.alike()[torch.arange(self._k), order]
        if moved.any():
            j = int(moved.nonzero()[0])
            raise ValueError(
                f"got order {order.tolist()}, but the priors of components {j} and {int(order[j])} differ, expected "
                "an order that leaves them where they are: their labels are part of the model"
            )
        self.q.permute(order)

    def hold(self, theta: Theta, size: PosteriorDraws, term: Tensor) -> None:
        """Take the draws of a sampler for q: {"weights": (chains * draws, k), ...}; term: its `global_term`."""
        positional, named = self.arguments
        vars(self)["arguments"] = (positional[:4], {**named, "guide": size})  # it is then made anew like this
        for part in (self.beliefs, self.shares):  # they hold no posterior of their own any more
            part.bare()
            for inner in part.modules():
                if hasattr(inner, "conjugate"):
                    vars(inner)["conjugate"] = False
        if "q" in vars(self):
            del vars(self)["q"]
        self._take(size)
        self.q.hold(theta, term)  # type: ignore[reportCallIssue]

    # inside

    @property
    def _kind(self) -> Family:
        return self.made

    @property
    def _k(self) -> int:
        return self.beliefs.components

    def _plain(self, weights: Tensor, family: Family) -> Mixture:
        made = Mixture(remade(self.beliefs.likelihood))
        made.load_state_dict(_state(family, made, weights))
        made.schema = self.schema
        return made

    def _thin(self) -> Bool[Tensor, " k"]:
        with torch.enable_grad():  # a parameter without gradient would count as frozen, and might be as thin as it is
            family, log_weights = self.q.views()[0]
        return family.collapsed(log_weights.detach().exp())

    def _joints(self, x: Tensor, labels: Tensor | None) -> Float[Tensor, "s n k"]:
        """log weights + log p(x | k) of each of q's views."""
        self._require_parameters()
        joint = torch.stack([log_prob(family, x) + log_weights for family, log_weights in self.q.views()])
        return joint if labels is None else joint + allowed(labels, joint.shape[-1])

    def _log_joint(self, x: Tensor, labels: Tensor | None) -> Float[Tensor, "n k"]:
        """Of several draws, the log of the mean responsibilities."""
        joint = self._joints(x, labels)
        return joint[0] if len(joint) == 1 else joint.softmax(-1).mean(0).log()

    def _require_parameters(self) -> None:
        if not self.q.is_set:
            raise ValueError("this mixture has no posterior yet: fit it, or seed(model, x) it")


def _state(family: Family, made: Mixture, weights: Tensor) -> dict[str, Tensor]:
    """The state of a mixture with this view of a family."""
    made.weights = weights
    state = made.state_dict()
    for path in made.family._names():
        *parts, name = path.split(".")
        part: Any = family
        for inner in parts:
            part = getattr(part, inner)
        state[f"family.{path}_unconstrained"] = getattr(part, f"{name}_unconstrained").detach()
    buffers = dict(family.named_buffers())
    return {name: buffers.get(name.removeprefix("family."), value) for name, value in state.items()}  # type: ignore

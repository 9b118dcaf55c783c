"""The three forms that a distribution q over the parameters of a mixture can have: conjugate, a guide, draws."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float, Int
from pyro import poutine
from pyro.infer.autoguide import AutoDelta
from pyro.infer.autoguide.initialization import InitMessenger, init_to_value
from torch import Tensor
from torch.distributions import constraints

from ._module import own_store
from .base import Statistics
from .beliefs import Beliefs, Theta, filled, log_density, sampled
from .family import Family
from .point import improve
from .randomness import fixed_seed
from .weight_beliefs import DirichletWeights, StickWeights

EVALUATION_DRAWS = 20  # of a guide, always the same, by which its expectations are evaluated
EMPTY = 0.01  # the weight of a component below which it counts as empty, where rows are not counted
EVALUATED = 256  # of a sample of draws, evenly spaced

View = tuple[Family, Float[Tensor, " k"]]  # a family and log weights: one mixture, or what stands for all of them


@dataclass(frozen=True)
class PosteriorDraws:
    """As the guide of a `BayesianMixture`: draws of its parameters, such as those of `NUTS`, which fill it.

    chains, draws: how many chains, and draws of each.
    """

    chains: int
    draws: int


class Conjugate:
    """q(theta) of the prior's kind, with all expectations in closed form."""

    is_point = False
    is_sampled = False
    has_exact_bound = True

    def __init__(self, shares: DirichletWeights | StickWeights, beliefs: Beliefs):
        self.shares, self.beliefs = shares, beliefs

    @property
    def is_set(self) -> bool:
        """Whether there is a posterior."""
        return self.shares.is_set and self.beliefs.is_set

    def begin(self, theta: Theta) -> None:
        """Nothing: the beliefs have begun where theta is the mean."""

    def views(self) -> list[View]:
        """The family with the expected natural parameters; E[log weights], less what E[log p(x | k)] is below it."""
        family, short = self.beliefs.expected()
        return [(family, self.shares.expected_log() + short)]

    def view(self) -> View:
        """What the E-step of EM takes for the mixture."""
        return self.views()[0]

    def at(self, theta: Theta) -> View:
        """The mixture at these values of the sites."""
        own = {name: theta[name] for name in self.beliefs.supports()}
        return self.beliefs.family_at(own), self.shares.log_weights(theta)

    def maximize(self, statistics: Statistics) -> None:
        """Hyperparameters = those of the prior + statistics."""
        self.shares.maximize(statistics.weight)
        self.beliefs.maximize(statistics.weight, statistics.total)

    def empty(self) -> Bool[Tensor, " k"]:
        """Which components have less than one row."""
        return self.shares.counts() < 1

    def global_term(self) -> Float[Tensor, ""]:
        """-KL(q(theta) || p(theta))."""
        return -(self.shares.divergence() + self.beliefs.divergence())

    def sites(self) -> View:
        """The statements of a Pyro guide, and what z depends on then: not on the values that are drawn."""
        theta: Theta = {}
        filled(self.shares.posterior(theta), theta, pyro.sample)
        filled(self.beliefs.posterior(theta), theta, pyro.sample)
        return self.views()[0]

    @torch.no_grad()
    def draw(self, draws: int) -> tuple[Theta, Float[Tensor, " s"]]:
        """Draws of theta, (s, ...) of each site, and their log density under q."""
        theta: Theta = {}
        sampled(self.shares.posterior(theta), theta, draws)
        sampled(self.beliefs.posterior(theta), theta, draws)
        log_q = log_density(self.shares.posterior(theta), theta) + log_density(self.beliefs.posterior(theta), theta)
        return {"weights": self.shares.log_weights(theta).exp(), **theta}, log_q

    def mean(self) -> tuple[Float[Tensor, " k"], Family]:
        """The mean weights, and the family at the mean of theta."""
        return self.shares.mean(), self.beliefs.family_at(self.beliefs.mean())

    def log_predictive(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """log E_q[p(x | theta)] of each row, in closed form."""
        return torch.logsumexp(self.beliefs.predictive_log_prob(x) + self.shares.mean().log(), -1)

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """n rows of the posterior predictive distribution, and the components they come from."""
        z = dist.Categorical(self.shares.mean()).sample((n,))
        return self.beliefs.predictive(z).sample(), z

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the components."""
        self.shares.permute(order)
        self.beliefs.permute(order)


class _ByDraws(torch.nn.Module):
    """What has expectations only by draws of theta. No PyroModule: a guide inside has a context of its own."""

    shares: DirichletWeights | StickWeights
    beliefs: Beliefs
    is_point = False
    is_sampled = False

    def __init__(self, shares: DirichletWeights | StickWeights, beliefs: Beliefs):
        super().__init__()
        vars(self).update(shares=shares, beliefs=beliefs)  # they are the mixture's

    def views(self) -> list[View]:
        """One mixture for each draw."""
        raise NotImplementedError

    def view(self) -> View:
        """Raises TypeError: it takes many."""
        raise TypeError(
            "EM() needs the conjugate posterior or an AutoDelta, of which it has all expectations: fit this guide "
            "by SVI()"
        )

    def empty(self) -> Bool[Tensor, " k"]:
        """Which components have next to no weight."""
        return self.mean()[0] < EMPTY  # type: ignore[attr-defined]

    def log_predictive(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """log of the mean over draws of p(x | theta), of each row."""
        from .missing import log_density as log_prob

        each = [torch.logsumexp(log_prob(family, x) + weights, -1) for family, weights in self.views()]
        return torch.logsumexp(torch.stack(each), 0) - math.log(len(each))

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """n rows, each from the mixture of some draw, and the components they come from."""
        views = self.views()
        counts = torch.multinomial(torch.ones(len(views)), n, replacement=True).bincount(minlength=len(views))
        rows, labels = [], []
        for (family, weights), size in zip(views, counts.tolist(), strict=True):
            if size:
                z = dist.Categorical(logits=weights).sample((size,))
                rows.append(family.component(z).sample())
                labels.append(z)
        order = torch.randperm(n)
        return torch.cat(rows)[order], torch.cat(labels)[order]


class Guided(_ByDraws):
    """q(theta) is a guide of Pyro's over the sites of theta, such as AutoNormal: made anew where a fit begins.

    make: a class of guides, or a function, that takes a Pyro program and `init_loc_fn`.
    """

    order: Tensor
    begun: Tensor
    begin_at: Any = None

    def __init__(self, shares: DirichletWeights | StickWeights, beliefs: Beliefs, make: Callable[..., Any]):
        super().__init__(shares, beliefs)
        self.make = make
        self.supports = {**shares.supports(), **beliefs.supports()}
        self.register_buffer("order", torch.arange(beliefs.components))  # component j is what the guide calls order[j]
        self.register_buffer("begun", torch.tensor(False))
        self.auto = self._made({name: _inside(form, shape) for name, (form, shape) in self.supports.items()})

    @property
    def is_point(self) -> bool:  # type: ignore[override]
        """Whether q is a single point."""
        return isinstance(self.auto, AutoDelta)

    @property
    def has_exact_bound(self) -> bool:
        """Whether expectations are more than averages over draws."""
        return self.is_point

    @property
    def is_set(self) -> bool:
        """Whether the guide has begun."""
        return bool(self.begun)

    def begin(self, theta: Theta) -> None:
        """A new guide at these parameters."""
        self.order = torch.arange(len(self.order))
        self.auto = self._made({name: _away(form, theta[name]) for name, (form, _) in self.supports.items()})
        self.begun = torch.tensor(True)

    def view(self) -> View:
        """The mixture at a guide's one point. Raises TypeError if it has more, or its family no M-step under any
        prior."""
        if not self.is_point:
            return super().view()
        for part in self.beliefs.likelihood.modules():
            if isinstance(part, Family) and type(part).expected_log_prob is Family.expected_log_prob:
                raise TypeError(
                    f"EM() needs expected_log_prob(), which {type(part).__name__} does not write: fit it by SVI()"
                )
        return self.views()[0]

    def maximize(self, statistics: Statistics) -> None:
        """The point of the highest expected log joint density, for the weights in closed form, else uphill."""
        theta, back = self._one()[0], self.order.argsort()
        own = self.beliefs.relabel({name: theta[name] for name in self.beliefs.supports()}, self.order)
        found = self.beliefs.relabel(improve(self.beliefs, own, statistics), back)
        for name, value in (self.shares.mode(statistics.weight[back]) | found).items():
            setattr(self.auto, name, value)

    def views(self) -> list[View]:
        """One mixture for each of some draws, always the same; just one of a guide that is a point."""
        return [self.at(theta) for theta, _ in self._evaluated()]

    def global_term(self) -> Float[Tensor, ""]:
        """The mean over draws of log p(theta) - log q(theta); log p(theta) of a point."""
        terms = []
        for theta, log_q in self._evaluated():
            log_p = log_density(self.shares.prior(theta), theta) + log_density(self.beliefs.prior(theta), theta)
            terms.append(log_p - log_q)
        return torch.stack(terms).mean()

    def sites(self) -> View:
        """The statements of a Pyro guide, and the mixture at the values that are drawn."""
        return self.at(self.auto())

    def at(self, theta: Theta) -> View:
        """The mixture at these values of the sites, with its own labels."""
        own = {name: theta[name] for name in self.beliefs.supports()}
        family = self.beliefs.family_at(self.beliefs.relabel(own, self.order))
        return family, self.shares.log_weights(theta)[self.order]

    @torch.no_grad()
    def draw(self, draws: int) -> tuple[Theta, Float[Tensor, " s"]]:
        """Draws of theta, (s, ...) of each site, and their log density under q."""
        each = [self._one() for _ in range(draws)]
        return stacked([self._seen(theta) for theta, _ in each]), torch.stack([log_q for _, log_q in each])

    @torch.no_grad()
    def mean(self) -> tuple[Float[Tensor, " k"], Family]:
        """Weights and family at the guide's median, or at its point."""
        if hasattr(self.auto, "median"):
            theta = {name: value.detach() for name, value in self._median().items()}
        else:
            with fixed_seed(0):
                theta = {name: value.mean(0) for name, value in self.draw(EVALUATION_DRAWS)[0].items()}
            return theta["weights"], self.beliefs.family_at({name: theta[name] for name in self.beliefs.supports()})
        family, log_weights = self.at(theta)
        return log_weights.exp(), family

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the components."""
        self.order = self.order[order]

    # inside

    def _made(self, values: Theta) -> Any:
        begin = init_to_value(values=values)
        try:
            with fixed_seed(0), own_store(), poutine.block(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The `init_loc_fn` argument", FutureWarning)  # of AutoIAFNormal
                auto = self.make(self._program, init_loc_fn=begin)
                with self._beginning(begin):
                    auto()  # sets up its parameters
                poutine.trace(auto).get_trace().log_prob_sum()  # all that is asked of it later on
                getattr(auto, "median", dict)()
                copy.deepcopy(copy.deepcopy(auto))  # of some guides only copies cannot be copied
        except (TypeError, ValueError, NotImplementedError, RuntimeError, AttributeError, KeyError) as error:
            called = getattr(self.make, "__name__", repr(self.make))
            reason = " ".join(str(error).split()) or type(error).__name__
            raise TypeError(
                f"{called} makes no guide that can be drawn from and copied, of a Pyro program of continuous values "
                f"and init_loc_fn ({reason}), expected one such as AutoNormal, AutoMultivariateNormal or AutoDelta"
            ) from error
        return auto

    def _program(self) -> None:
        """The sites, their shapes and supports: all that a guide needs to know."""
        with nullcontext() if self.begin_at is None else InitMessenger(self.begin_at):
            for name, (form, shape) in self.supports.items():
                whole = constraints.independent(form, len(shape) - form.event_dim)
                pyro.sample(name, dist.ImproperUniform(whole, (), shape))

    @contextmanager
    def _beginning(self, begin: Any) -> Iterator[None]:
        """In the body the program has values of its own, for guides that run it to see what depends on what."""
        self.begin_at = begin
        try:
            yield
        finally:
            self.begin_at = None

    def _one(self) -> tuple[Theta, Tensor]:
        with own_store(), poutine.block():
            trace = poutine.trace(self.auto).get_trace()
        theta = {name: trace.nodes[name]["value"] for name in self.supports}
        return theta, torch.as_tensor(trace.log_prob_sum(), dtype=torch.float64)

    def _median(self) -> Theta:
        with own_store(), poutine.block():
            return self.auto.median()

    def _evaluated(self) -> list[tuple[Theta, Tensor]]:
        with fixed_seed(0):
            return [self._one() for _ in range(1 if self.is_point else EVALUATION_DRAWS)]

    def _seen(self, theta: Theta) -> Theta:
        """theta with the labels of the mixture."""
        own = {name: theta[name] for name in self.beliefs.supports()}
        return self.shares.relabel(theta, self.order) | self.beliefs.relabel(own, self.order)


class Sampled(_ByDraws):
    """q(theta) is a sample of draws, all with the same labels: `weights` (chains * draws, k), and the sites of theta,
    (chains * draws, ...); sticks, if there are some, are those of places."""

    term: Tensor
    is_sampled = True
    has_exact_bound = False

    def __init__(self, shares: DirichletWeights | StickWeights, beliefs: Beliefs, size: PosteriorDraws):
        super().__init__(shares, beliefs)
        self.size = size
        supports = shares.supports() | beliefs.supports()
        shapes = {"weights": torch.Size([beliefs.components])} | {name: shape for name, (_, shape) in supports.items()}
        self.names = tuple(shapes)
        for name, shape in shapes.items():
            self.register_buffer(f"drawn_{name}", torch.full((size.chains * size.draws, *shape), torch.nan).double())
        self.register_buffer("term", torch.tensor(torch.nan, dtype=torch.float64))

    @property
    def is_set(self) -> bool:
        """Whether it holds draws."""
        return not bool(self.term.isnan())

    def begin(self, theta: Theta) -> None:
        """Raises ValueError: draws are not fitted."""
        raise ValueError("this model holds the draws of a sampler, expected one to be fitted: BayesianMixture(family)")

    def hold(self, theta: Theta, term: Tensor) -> None:
        """Take these draws, and the `global_term` that comes with them."""
        for name in self.names:
            setattr(self, f"drawn_{name}", theta[name].double())
        self.term = term

    @property
    def theta(self) -> Theta:
        """All draws."""
        return {name: getattr(self, f"drawn_{name}") for name in self.names}

    def views(self) -> list[View]:
        """One mixture for each of some draws, evenly spaced."""
        count = self.size.chains * self.size.draws
        index = torch.linspace(0, count - 1, min(count, EVALUATED)).round().long().tolist()
        theta = self.theta
        return [self._view({name: value[i] for name, value in theta.items()}) for i in index]

    def global_term(self) -> Float[Tensor, ""]:
        """What the bound of the sampler has beyond the mean log-likelihood of its draws: about -KL(q || p)."""
        return self.term

    def sites(self) -> View:
        """One of the draws, with the labels that its sticks have, if there are some."""
        index = torch.randint(len(self.drawn_weights), ())  # type: ignore[arg-type]
        one = {name: value[index] for name, value in self.theta.items()}
        if not self.shares.exchangeable:
            order = self.shares.places(one).argsort()[self.shares.place]  # type: ignore[union-attr]
            own = {name: one[name] for name in self.beliefs.supports()}
            one |= self.beliefs.relabel(own, order) | {"weights": one["weights"][order]}
        for name in self.shares.supports() | self.beliefs.supports():
            pyro.sample(name, dist.Delta(one[name], event_dim=one[name].ndim))
        return self._view(one)

    def at(self, theta: Theta) -> View:
        """The mixture at these values of the sites."""
        return self._view({**theta, "weights": self.shares.log_weights(theta).exp()})

    @torch.no_grad()
    def draw(self, draws: int) -> tuple[Theta, Float[Tensor, " s"]]:
        """Some of the draws, at random; their density is not known."""
        index = torch.randint(len(self.drawn_weights), (draws,))  # type: ignore[arg-type]
        return {name: value[index] for name, value in self.theta.items()}, torch.full((draws,), torch.nan).double()

    def mean(self) -> tuple[Float[Tensor, " k"], Family]:
        """The means of the draws."""
        if not self.is_set:
            own = {name: _inside(form, shape) for name, (form, shape) in self.beliefs.supports().items()}
            return torch.full_like(self.drawn_weights[0], torch.nan), self.beliefs.family_at(own)  # type: ignore[index]
        family, log_weights = self._view({name: value.mean(0) for name, value in self.theta.items()})
        return log_weights.exp(), family

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the components in all draws."""
        self.drawn_weights = self.drawn_weights[:, order]  # type: ignore[index]
        for name in self.beliefs.supports():
            if name not in self.beliefs.shared:
                setattr(self, f"drawn_{name}", getattr(self, f"drawn_{name}")[:, order])

    # inside

    def _view(self, theta: Theta) -> View:
        return self.beliefs.family_at({name: theta[name] for name in self.beliefs.supports()}), theta["weights"].log()


def stacked(found: list[Theta]) -> Theta:
    """Several values of theta as one, with draws on dim 0."""
    return {name: torch.stack([theta[name] for theta in found]) for name in found[0]}


def _inside(form: Any, shape: torch.Size) -> Tensor:
    """Some value that the constraint allows."""
    to = torch.distributions.biject_to(form)
    return to(torch.zeros(to.inverse_shape(shape), dtype=torch.float64))


def _away(form: Any, value: Tensor) -> Tensor:
    """The value, a little away from the boundary if it is there."""
    to = torch.distributions.biject_to(form)
    probability = isinstance(form, type(constraints.simplex) | type(constraints.unit_interval))
    most = 10.0 if probability else 1e6  # log odds: those of 0 and 1 come out finite, but far too large
    return to(torch.as_tensor(to.inv(value)).nan_to_num(posinf=20.0, neginf=-20.0).clamp(-most, most))

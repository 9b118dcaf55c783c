"""A distribution q over the parameters of a mixture that is a guide of Pyro's."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from pyro import poutine
from pyro.infer.autoguide import AutoDelta
from pyro.infer.autoguide.initialization import InitMessenger, init_to_value
from torch import Tensor
from torch.distributions import constraints

from ..contract import Statistics
from ..families.family import Family
from ..module import empty_param_store
from ..random_state import fixed_seed
from .beliefs import Beliefs, Theta, log_density
from .map_step import improve
from .posterior_draws import ByDraws, View, inside, stacked
from .weight_beliefs import DirichletWeights, StickWeights

EVALUATION_DRAWS = 20  # of a guide, always the same, by which its expectations are evaluated


class Guided(ByDraws):
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
        self.auto = self._made({name: inside(form, shape) for name, (form, shape) in self.supports.items()})

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
        if lacking := self.beliefs.likelihood.lacking_expected_log_prob():
            raise TypeError(f"EM() needs expected_log_prob(), which {lacking[0]} does not write: fit it by SVI()")
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
            with fixed_seed(0), empty_param_store(), poutine.block(), warnings.catch_warnings():
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
        with empty_param_store(), poutine.block():
            trace = poutine.trace(self.auto).get_trace()
        theta = {name: trace.nodes[name]["value"] for name in self.supports}
        return theta, torch.as_tensor(trace.log_prob_sum(), dtype=torch.float64)

    def _median(self) -> Theta:
        with empty_param_store(), poutine.block():
            return self.auto.median()

    def _evaluated(self) -> list[tuple[Theta, Tensor]]:
        with fixed_seed(0):
            return [self._one() for _ in range(1 if self.is_point else EVALUATION_DRAWS)]

    def _seen(self, theta: Theta) -> Theta:
        """theta with the labels of the mixture."""
        own = {name: theta[name] for name in self.beliefs.supports()}
        return self.shares.relabel(theta, self.order) | self.beliefs.relabel(own, self.order)


def _away(form: Any, value: Tensor) -> Tensor:
    """The value, a little away from the boundary if it is there."""
    to = torch.distributions.biject_to(form)
    probability = isinstance(form, type(constraints.simplex) | type(constraints.unit_interval))
    most = 10.0 if probability else 1e6  # log odds: those of 0 and 1 come out finite, but far too large
    return to(torch.as_tensor(to.inv(value)).nan_to_num(posinf=20.0, neginf=-20.0).clamp(-most, most))

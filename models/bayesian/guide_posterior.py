"""q(weights, theta) as one of Pyro's guides, such as AutoNormal."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FunctionType
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
from ..param_store import empty_param_store
from ..random_state import fixed_seed
from .draws_in_plates import split_plates
from .map_m_step import maximize_log_joint
from .monte_carlo_posterior import MonteCarloPosterior
from .parameter_sites import Theta, View, Views, sites_log_prob, stack_draws, value_inside
from .prior_and_posterior import PriorAndPosterior
from .stick_breaking_weights import MixtureWeights

EVALUATION_DRAWS = 20  # expectations are means over so many draws of the guide, always the same ones


class GuidePosterior(MonteCarloPosterior):
    """q is a guide of Pyro's over the sites of the parameters. Each start of a fit makes a new one.

    Args:
        shares: The prior of the weights.
        beliefs: The prior of theta.
        make: A class of guides, or a function, that takes a Pyro program and `init_loc_fn`.
    """

    order: Tensor
    begun: Tensor
    begin_at: Any = None

    def __init__(self, shares: MixtureWeights, beliefs: PriorAndPosterior, make: Callable[..., Any]):
        super().__init__(shares, beliefs)
        self.make = make
        self.supports = {**shares.supports(), **beliefs.supports()}
        self.register_buffer("order", torch.arange(beliefs.components))  # component j is number order[j] in the guide
        self.register_buffer("begun", torch.tensor(False))
        self.auto = self._made({name: value_inside(form, shape) for name, (form, shape) in self.supports.items()})

    @property
    def is_point(self) -> bool:  # type: ignore[override]
        """Whether q is a single point, that of an AutoDelta."""
        return isinstance(self.auto, AutoDelta)

    @property
    def has_exact_bound(self) -> bool:
        """Whether expectations are exact, not means over draws: for a single point."""
        return self.is_point

    @property
    def is_set(self) -> bool:
        """Whether the guide has been started at data."""
        return bool(self.begun)

    def start_at(self, theta: Theta) -> None:
        """Make a new guide that starts at these parameters."""
        self.order = torch.arange(len(self.order))
        self.auto = self._made(
            {name: _away_from_boundary(form, theta[name]) for name, (form, _) in self.supports.items()}
        )
        self.begun = torch.tensor(True)

    def e_step_view(self) -> View:
        """The mixture at the point of an AutoDelta.

        Raises TypeError for other guides, and for families that have no M-step under any prior.
        """
        if not self.is_point:
            return super().e_step_view()
        if lacking := self.beliefs.likelihood.lacking_expected_log_prob():
            raise TypeError(f"EM() needs expected_log_prob(), which {lacking[0]} does not have: fit it by SVI()")
        return self.views()[0]

    def maximize(self, statistics: Statistics) -> None:
        """Move the point to the maximum of the expected log joint density: weights in closed form, theta by L-BFGS."""
        theta, back = self._draw_one()[0], self.order.argsort()
        own = self.beliefs.relabel({name: theta[name] for name in self.beliefs.supports()}, self.order)
        found = self.beliefs.relabel(maximize_log_joint(self.beliefs, own, statistics), back)
        for name, value in (self.shares.mode(statistics.weight[back]) | found).items():
            setattr(self.auto, name, value)

    def views(self) -> list[View]:
        """The mixture at each of 20 draws, always the same ones; at the point of an AutoDelta."""
        return [self.at(theta) for theta, _ in self._evaluated()]

    def global_term(self) -> Float[Tensor, ""]:
        """The mean over draws of log p(weights, theta) - log q(weights, theta); for a point log p(weights, theta)."""
        terms = []
        for theta, log_q in self._evaluated():
            log_p = sites_log_prob(self.shares.prior(theta), theta) + sites_log_prob(self.beliefs.prior(theta), theta)
            terms.append(log_p - log_q)
        return torch.stack(terms).mean()

    def guide_sites(self) -> Views:
        """Run the guide: draw the parameters as its sites. The mixture with these parameters."""
        each, plates = split_plates(self.auto(), self.supports)
        return [self.at(theta) for theta in each], plates

    def at(self, theta: Theta) -> View:
        """The mixture with these parameters, relabelled from the guide's labels to its own."""
        own = {name: theta[name] for name in self.beliefs.supports()}
        family = self.beliefs.family_at(self.beliefs.relabel(own, self.order))
        return family, self.shares.log_weights(theta)[self.order]

    @torch.no_grad()
    def draw(self, draws: int) -> tuple[Theta, Float[Tensor, " s"]]:
        """Draws of the parameters, with the draw on dim 0, and the log density under q of each."""
        each = [self._draw_one() for _ in range(draws)]
        return stack_draws([self._relabelled(theta) for theta, _ in each]), torch.stack([log_q for _, log_q in each])

    @torch.no_grad()
    def mean(self) -> tuple[Float[Tensor, " k"], Family]:
        """Weights and family at the guide's median, or, if it has none, at the mean of 20 draws."""
        if _has_median(self.auto):
            theta = {name: value.detach() for name, value in self._median().items()}
        else:
            with fixed_seed(0):
                theta = {name: value.mean(0) for name, value in self.draw(EVALUATION_DRAWS)[0].items()}
            return theta["weights"], self.beliefs.family_at({name: theta[name] for name in self.beliefs.supports()})
        family, log_weights = self.at(theta)
        return log_weights.exp(), family

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the components in place."""
        self.order = self.order[order]

    # inside

    def _made(self, values: Theta) -> Any:
        """A new guide, started at these values, that was tried: drawn from, evaluated and copied."""
        begin = init_to_value(values=values)
        try:
            with fixed_seed(0), empty_param_store(), poutine.block(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The `init_loc_fn` argument", FutureWarning)  # of AutoIAFNormal
                auto = self.make(self._program, init_loc_fn=begin)
                with self._beginning(begin):
                    auto()  # sets up its parameters
                poutine.trace(auto).get_trace().log_prob_sum()  # all that a fit calls later
                if _has_median(auto):
                    auto.median()
                copy.deepcopy(copy.deepcopy(auto))  # twice: some guides can be copied, but their copies cannot
        except (TypeError, ValueError, NotImplementedError, RuntimeError, AttributeError, KeyError) as error:
            called = self.make.__name__ if isinstance(self.make, type | FunctionType) else repr(self.make)
            reason = " ".join(str(error).split()) or type(error).__name__
            raise TypeError(
                f"{called} makes no guide that can be drawn from and copied when it is called with a Pyro program of "
                f"continuous values and init_loc_fn ({reason}), expected one such as AutoNormal, "
                "AutoMultivariateNormal or AutoDelta"
            ) from error
        return auto

    def _program(self) -> None:
        """A Pyro program with the sites of the parameters: their names, shapes and supports, all that a guide needs."""
        with nullcontext() if self.begin_at is None else InitMessenger(self.begin_at):
            for name, (form, shape) in self.supports.items():
                whole = constraints.independent(form, len(shape) - form.event_dim)
                pyro.sample(name, dist.ImproperUniform(whole, (), shape))

    @contextmanager
    def _beginning(self, begin: Any) -> Iterator[None]:
        """In the body the program draws the start values: some guides run it to see which site depends on which."""
        self.begin_at = begin
        try:
            yield
        finally:
            self.begin_at = None

    def _draw_one(self) -> tuple[Theta, Tensor]:
        """One draw of the parameters by the guide's labels, and its log density."""
        with empty_param_store(), poutine.block():
            trace = poutine.trace(self.auto).get_trace()
        theta = {name: trace.nodes[name]["value"] for name in self.supports}
        return theta, torch.as_tensor(trace.log_prob_sum(), dtype=torch.float64)

    def _median(self) -> Theta:
        with empty_param_store(), poutine.block():
            return self.auto.median()

    def _evaluated(self) -> list[tuple[Theta, Tensor]]:
        with fixed_seed(0):
            return [self._draw_one() for _ in range(1 if self.is_point else EVALUATION_DRAWS)]

    def _relabelled(self, theta: Theta) -> Theta:
        """theta by the labels of the mixture."""
        own = {name: theta[name] for name in self.beliefs.supports()}
        return self.shares.relabel(theta, self.order) | self.beliefs.relabel(own, self.order)


def _has_median(guide: Any) -> bool:
    """Whether a guide has a median. Pyro's guides have one; a guide made by a user's function may not."""
    return hasattr(guide, "median")  # an ability of others' classes, which have no common base with `median`


def _away_from_boundary(form: Any, value: Tensor) -> Tensor:
    """The value, moved a little to the inside if it is on the boundary of its constraint."""
    to = torch.distributions.biject_to(form)
    probability = isinstance(form, type(constraints.simplex) | type(constraints.unit_interval))
    most = 10.0 if probability else 1e6  # log odds; those of 0 and 1 are finite in floating point, but far too large
    return to(torch.as_tensor(to.inv(value)).nan_to_num(posinf=20.0, neginf=-20.0).clamp(-most, most))

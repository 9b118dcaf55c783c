"""Draws from the posterior itself: the reference that variational answers are judged by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float
from pyro.infer.mcmc import MCMC
from pyro.infer.mcmc import NUTS as Kernel
from pyro.ops.stats import split_gelman_rubin
from torch import Tensor
from torch.distributions import biject_to

from ...models import BayesianMixture, PosteriorDraws, Rows
from ...models.bayesian.parameter_sites import Theta, sites_log_prob, stack_draws
from ...models.families.missing_values import log_prob_of_rows as log_prob
from ...models.mixtures.e_step import allowed
from .data_bound import data_bound
from .relabel import relabel

LABEL_ROWS = 1000  # at most, by which the labels of draws are matched
BOUND_DRAWS = 2000  # of the Gaussian whose bound is reported
MIXED = 1.05  # largest R-hat of chains that agree


@dataclass(frozen=True)
class NUTS:
    """The No-U-Turn sampler (Hoffman & Gelman 2014) on log p(x, theta) of a `BayesianMixture`, with z summed out.

    draws: of each chain, after `warmup` steps in which it learns its step size (for an acceptance of `target_accept`)
    and the posterior's covariance; chains: each from a start of its own. The fitted model holds all draws, relabelled
    to agree with one another (Stephens 2000), as its q.

    `Fit.bounds` has the bound at the start, and at the end an estimate, by 2000 draws, of a lower bound of log p(x),
    too: that of the Gaussian that has the mean and covariance of the draws, in unconstrained coordinates. There are
    these two passes, and so no patience. Draws are relabelled only where priors and labels do not tell components
    apart. With sticks all chains have the places of the first. The run has converged if R-hat, of the log
    joint density and of all parameters, is at most 1.05: else the chains disagree, and the draws are of no one
    posterior.
    """

    draws: int = 500
    warmup: int = 300
    chains: int = 4
    target_accept: float = 0.8

    def __post_init__(self):
        for name, least in (("draws", 4), ("warmup", 1), ("chains", 1)):  # R-hat is of halves of chains
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}")
        if not 0 < self.target_accept < 1:
            raise ValueError(f"target_accept is {self.target_accept!r}, expected a probability such as 0.8")

    def passes(self, model: Any, rows: Rows, max_passes: int, generator: torch.Generator) -> Sampling:
        """Yield the bound of the model as it stands, then put draws in the place of its q, and yield their bound."""
        if not isinstance(model, BayesianMixture):
            raise TypeError(
                f"NUTS draws parameters from a posterior, which {type(model).__name__} does not have: make it a "
                "BayesianMixture(family)"
            )
        if max_passes < 2:
            raise ValueError(f"max_passes is {max_passes}, expected at least 2: NUTS draws in its second pass")
        if rows.processes > 1:
            raise TypeError("NUTS reads all rows at each of its steps, expected one process: start it without torchrun")
        return Sampling(self, model, rows, generator)

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """None: there is an end."""
        return None


class Sampling:
    """The two passes of a sampler: what `NUTS.passes` returns. `outcome`: whether the chains agree, and how it is
    known."""

    def __init__(self, engine: NUTS, model: BayesianMixture, rows: Rows, generator: torch.Generator):
        self.engine, self.model, self.rows, self.generator = engine, model, rows, generator
        self.outcome: tuple[bool, str] | None = None
        self.passes = 0

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        self.passes += 1
        if self.passes > 2:
            raise StopIteration
        if self.passes == 2:
            self._sample()
        return data_bound(self.model, self.rows)

    def _sample(self) -> None:
        engine, model, divergences = self.engine, self.model, 0
        place = torch.empty(0)
        found: list[Theta] = []
        for chain in range(engine.chains):
            if chain:
                model.initialize(self.rows, None, self.generator, redraw=True)
            first = {name: value[0] for name, value in model.q.draw(1)[0].items()}
            if not model.shares.exchangeable:  # the components have the same places in all chains
                place = place if chain else model.shares.stick_positions(first)
                model.shares.place = place
                first |= model.shares.sticks_for(first["weights"])
            joint = LogJoint(model, self.rows)
            begin = joint.unconstrained(first)
            kernel = Kernel(potential_fn=joint.potential, full_mass=True, target_accept_prob=engine.target_accept)
            run = MCMC(
                kernel,
                num_samples=engine.draws,
                warmup_steps=engine.warmup,
                initial_params={"u": begin},
                disable_progbar=True,
            )
            run.run()
            found += [joint.theta(u) for u in run.get_samples()["u"]]
            divergences += len(run.diagnostics()["divergences"]["chain 0"])
        theta = self._relabelled(stack_draws(found))
        joint = LogJoint(model, self.rows)
        # sticks are of places, not of labels: they and what is drawn with them stay together
        flat = torch.stack([joint.unconstrained(o) for o in (_parted(theta) if model.shares.exchangeable else found)])
        own = torch.stack([joint.unconstrained(one, model.beliefs.supports()) for one in _parted(theta)])
        shares = theta["weights"][:, 1:]  # the first follows from the others
        self.outcome = self._judged(torch.cat([own, shares, joint.many(flat).unsqueeze(1)], 1), divergences)
        bound = gaussian_bound(joint, flat)
        model.set_draws(theta, PosteriorDraws(engine.chains, engine.draws), torch.zeros((), dtype=torch.float64))
        left = bound - float(data_bound(model, self.rows)) * self.rows.total_weight
        model.set_draws(theta, PosteriorDraws(engine.chains, engine.draws), torch.tensor(left, dtype=torch.float64))

    @torch.no_grad()
    def _relabelled(self, theta: Theta) -> Theta:
        model, names = self.model, self.model.beliefs.supports()
        chunk = self.rows.sample(torch.Generator().manual_seed(0), LABEL_ROWS)
        known = 0.0 if chunk.labels is None else allowed(chunk.labels, model.beliefs.components)
        joints = [log_prob(family, chunk.x) + weights + known for family, weights in model.views(theta)]
        order = relabel(torch.stack(joints).softmax(-1), model.exchangeable(self.rows.labels))
        own = model.beliefs.relabel({name: theta[name] for name in names}, order)
        return {**theta, **own, "weights": torch.gather(theta["weights"], 1, order)}

    def _judged(self, draws: Float[Tensor, "s p"], divergences: int) -> tuple[bool, str]:
        engine = self.engine
        told = f"{engine.chains} chain{'s' if engine.chains > 1 else ''} of {engine.draws} draws"
        each = split_gelman_rubin(draws.unflatten(0, (engine.chains, engine.draws)), 0, 1)
        worst = float(each.nan_to_num(nan=torch.inf).max())  # 0 / 0 of a chain that did not move
        told += f", largest R-hat {worst:.3f}"
        if divergences:
            told += f", {divergences} divergent: raise target_accept"
        if worst <= MIXED:
            return True, f"converged: {told}"
        return False, f"not converged: {told}, expected at most {MIXED}: more draws and warmup, or fewer components"


class LogJoint:
    """log p(x, theta) of a model as a function of one vector u (p,) of unconstrained coordinates, in the units of the
    data, with the log Jacobian of the map from u to theta."""

    def __init__(self, model: BayesianMixture, rows: Rows):
        self.shares, self.beliefs = model.shares, model.beliefs
        self.chunks = list(rows.merged.chunks())
        supports = {**self.shares.supports(), **self.beliefs.supports()}
        self.maps = {name: biject_to(form) for name, (form, _) in supports.items()}
        self.shapes = {name: self.maps[name].inverse_shape(shape) for name, (_, shape) in supports.items()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]

    def __call__(self, u: Float[Tensor, " p"]) -> Float[Tensor, ""]:
        """In nats, differentiable."""
        theta, total = {}, u.new_zeros(())
        for name, part in zip(self.maps, u.split(self.sizes), strict=True):
            part = part.reshape(self.shapes[name])
            theta[name] = self.maps[name](part)
            total = total + torch.as_tensor(self.maps[name].log_abs_det_jacobian(part, theta[name])).sum()
        family = self.beliefs.family_at({name: theta[name] for name in self.beliefs.supports()})
        log_weights = self.shares.log_weights(theta)
        for chunk in self.chunks:
            terms = log_prob(family, chunk.x) + log_weights
            if chunk.labels is not None:
                terms = terms + allowed(chunk.labels, terms.shape[-1])
            rows = terms.logsumexp(-1)
            total = total + (rows.sum() if chunk.weights is None else rows @ chunk.weights)
        return (
            total + sites_log_prob(self.shares.prior(theta), theta) + sites_log_prob(self.beliefs.prior(theta), theta)
        )

    def potential(self, parameters: dict[str, Tensor]) -> Tensor:
        """Minus that; infinite where theta has left the range of numbers."""
        u = parameters["u"]
        try:
            value = -self(u)
        except (ValueError, RuntimeError):  # of distributions, and of matrix factors
            return torch.inf + 0 * u.sum()
        return torch.where(value.isnan(), torch.inf + 0 * u.sum(), value)

    @torch.no_grad()
    def many(self, u: Float[Tensor, "s p"]) -> Float[Tensor, " s"]:
        """Of several vectors."""
        return torch.stack([-self.potential({"u": one}) for one in u])

    @torch.no_grad()
    def theta(self, u: Float[Tensor, " p"]) -> Theta:
        """The parameters, and the weights whatever they are made of."""
        parts = zip(self.maps, u.split(self.sizes), strict=True)
        theta = {name: torch.as_tensor(self.maps[name](part.reshape(self.shapes[name]))) for name, part in parts}
        return {"weights": self.shares.log_weights(theta).exp(), **theta}

    @torch.no_grad()
    def unconstrained(self, theta: Theta, names: Iterable[str] | None = None) -> Float[Tensor, " p"]:
        """`theta` undone; of some names, if they are given."""
        wanted = self.maps if names is None else names
        return torch.cat([torch.as_tensor(self.maps[name].inv(theta[name])).flatten() for name in wanted])


@torch.no_grad()
def gaussian_bound(joint: LogJoint, draws: Float[Tensor, "s p"]) -> float:
    """An estimate, by draws of its own, of a lower bound of log p(x), E_q[log p(x, theta) - log q], of the Gaussian q
    with the mean and covariance of these draws, cut off where log p(x, theta) is not finite. Raises ArithmeticError for
    draws that are not finite."""
    if not draws.isfinite().all():
        raise ArithmeticError(
            "some draws of the sampler are at the end of a parameter's range to rounding, such as a weight of 0, "
            "expected draws inside: take a larger concentration, or fewer components"
        )
    s, p = draws.shape
    covariance = torch.atleast_2d(torch.cov(draws.T)) if s > p + 1 else torch.diag(draws.var(0))
    covariance = covariance + torch.diag(1e-9 * covariance.diagonal() + 1e-12)  # a chain may not have moved
    q = torch.distributions.MultivariateNormal(draws.mean(0), covariance)
    u = q.sample((BOUND_DRAWS,))
    each = joint.many(u) - q.log_prob(u)
    kept = each[each.isfinite()]
    return float(kept.mean()) + math.log(len(kept) / len(each)) if len(kept) else -math.inf


def _parted(theta: Theta) -> list[Theta]:
    """Of values of several draws each by itself."""
    return [{name: value[i] for name, value in theta.items()} for i in range(len(theta["weights"]))]

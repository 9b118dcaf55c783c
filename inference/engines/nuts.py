"""NUTS: draws from the exact posterior of the parameters, the reference for variational answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float
from pyro.infer.mcmc import MCMC
from pyro.infer.mcmc import NUTS as Kernel
from pyro.ops.stats import split_gelman_rubin
from torch import Tensor

from ...models import BayesianMixture, PosteriorDraws, Rows
from ...models.bayesian.parameter_sites import Theta, stack_draws
from ...models.families.missing_values import log_prob_of_rows as log_prob
from ...models.mixtures.e_step import label_log_mask
from ...models.param_store import one_pyro_program
from .data_bound import data_bound
from .relabel import relabel
from .unconstrained_posterior import LogJoint, gaussian_bound, split_draws

LABEL_ROWS = 1000  # at most so many rows decide how the labels of draws are matched

LARGEST_R_HAT = 1.05  # of chains that agree


@dataclass(frozen=True)
class NUTS:
    """The No-U-Turn sampler: draws from p(theta | x) of a `BayesianMixture`, with z summed out.

    The fitted model holds the draws of all chains as its q. They are relabelled to agree with one another (`relabel`),
    unless priors or labels tell the components apart. With stick-breaking weights all chains use the order of sticks
    of the first.

    A run has two passes: `Fit.bounds` holds the bound at the start and, at the end, an estimate of a lower bound of log
    p(x) by 2000 draws of a Gaussian with the mean and covariance of the posterior draws, in unconstrained coordinates.
    `fit(..., patience=...)` raises ValueError. The run counts as converged if the largest R-hat, of the log joint
    density and of all parameters, is at most 1.05. Otherwise the chains disagree.

    Args:
        draws: Draws of each chain that are kept.
        warmup: Steps of each chain before them, in which it adapts its step size and mass matrix.
        chains: How many chains, each from its own start.
        target_accept: The acceptance probability that the step size is adapted to.

    Raises:
        ValueError: A setting is out of its range.

    Example:
        >>> import torch
        >>> from lowerbound.inference import NUTS, fit
        >>> from lowerbound.models import BayesianMixture, Poisson
        >>> x = torch.tensor([[0.0], [1.0], [1.0], [2.0], [9.0], [8.0], [11.0], [10.0]])
        >>> fitted = fit(BayesianMixture(Poisson(1, 1)), x, NUTS(draws=4, warmup=1, chains=1))
        >>> len(fitted.bounds), tuple(fitted.model.draw(4)["rate"].shape)
        (2, (4, 1, 1))

    References:
        Hoffman & Gelman, The No-U-Turn sampler, Journal of Machine Learning Research 15 (2014), 1593-1623.
    """

    draws: int = 500
    warmup: int = 300
    chains: int = 4
    target_accept: float = 0.8

    def __post_init__(self):
        for name, least in (("draws", 4), ("warmup", 1), ("chains", 1)):  # R-hat compares halves of chains
            value = vars(self)[name]
            if not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}")
        if not 0 < self.target_accept < 1:
            raise ValueError(f"target_accept is {self.target_accept!r}, expected a probability such as 0.8")

    def passes(self, model: Any, rows: Rows, max_passes: int, generator: torch.Generator) -> NUTSSteps:
        """The two passes: the bound at the start, and that after q is replaced by draws."""
        if not isinstance(model, BayesianMixture):
            raise TypeError(
                f"NUTS draws parameters from a posterior, which {type(model).__name__} does not have: make it a "
                "BayesianMixture(family)"
            )
        if max_passes < 2:
            raise ValueError(f"max_passes is {max_passes}, expected at least 2: NUTS draws in its second pass")
        if rows.processes > 1:
            raise TypeError("NUTS reads all rows at each of its steps, expected one process: start it without torchrun")
        return NUTSSteps(self, model, rows, generator)

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """None: the run ends by itself after two passes."""
        return None


class NUTSSteps:
    """The two passes of NUTS: what `NUTS.passes` returns. outcome: whether the chains agree, with their R-hat."""

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
        order_of_sticks = torch.empty(0)
        found: list[Theta] = []
        for chain in range(engine.chains):
            if chain:
                model.initialize(self.rows, None, self.generator, redraw=True)
            first = {name: value[0] for name, value in model.q.draw(1)[0].items()}
            if not model.shares.exchangeable:  # all chains break the sticks in the same order
                order_of_sticks = order_of_sticks if chain else model.shares.stick_positions(first)
                model.shares.place = order_of_sticks
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
            with one_pyro_program():
                run.run()
            found += [joint.theta(u) for u in run.get_samples()["u"]]
            divergences += len(run.diagnostics()["divergences"]["chain 0"])
        theta = self._relabelled(stack_draws(found))
        joint = LogJoint(model, self.rows)
        # sticks have an order and no labels: such draws are used as they were found, without relabelling
        flat = torch.stack(
            [joint.unconstrained(o) for o in (split_draws(theta) if model.shares.exchangeable else found)]
        )
        own = torch.stack([joint.unconstrained(one, model.beliefs.supports()) for one in split_draws(theta)])
        weights = theta["weights"][:, 1:]  # the first follows from the others
        self.outcome = self._judged(torch.cat([own, weights, joint.many(flat).unsqueeze(1)], 1), divergences)
        bound = gaussian_bound(joint, flat)
        model.set_draws(theta, PosteriorDraws(engine.chains, engine.draws), torch.zeros((), dtype=torch.float64))
        left = bound - float(data_bound(model, self.rows)) * self.rows.total_weight
        model.set_draws(theta, PosteriorDraws(engine.chains, engine.draws), torch.tensor(left, dtype=torch.float64))

    @torch.no_grad()
    def _relabelled(self, theta: Theta) -> Theta:
        """The draws with components in an order that agrees."""
        model, names = self.model, self.model.beliefs.supports()
        chunk = self.rows.sample(torch.Generator().manual_seed(0), LABEL_ROWS)
        known = 0.0 if chunk.labels is None else label_log_mask(chunk.labels, model.beliefs.components)
        joints = [log_prob(family, chunk.x) + weights + known for family, weights in model.views(theta)]
        order = relabel(torch.stack(joints).softmax(-1), model.exchangeable(self.rows.labels))
        own = model.beliefs.relabel({name: theta[name] for name in names}, order)
        return {**theta, **own, "weights": torch.gather(theta["weights"], 1, order)}

    def _judged(self, draws: Float[Tensor, "s p"], divergences: int) -> tuple[bool, str]:
        """Whether the chains agree, by the largest R-hat, and the reason in words."""
        engine = self.engine
        facts = f"{engine.chains} chain{'s' if engine.chains > 1 else ''} of {engine.draws} draws"
        each = split_gelman_rubin(draws.unflatten(0, (engine.chains, engine.draws)), 0, 1)
        worst = float(each.nan_to_num(nan=torch.inf).max())  # 0 / 0 of a chain that did not move
        facts += f", largest R-hat {worst:.3f}"
        if divergences:
            facts += f", {divergences} divergent: raise target_accept"
        if worst <= LARGEST_R_HAT:
            return True, f"converged: {facts}"
        return (
            False,
            f"not converged: {facts}, expected at most {LARGEST_R_HAT}: more draws and warmup, or fewer components",
        )

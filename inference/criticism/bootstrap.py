"""The nonparametric bootstrap: how a fit would vary from sample to sample, by fitting resamples of its rows."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ...data.rows import as_rows
from ...models import Rows
from ..engines.data_bound import data_bound
from ..fitting.fit import fit as fit_model
from ..fitting.fit_result import Fit
from .align import align
from .observed_information import values_of
from .standard_errors import Of, numbers, require_estimates, require_level


@dataclass(frozen=True)
class Bootstrap:
    """What came of the resamples, by the names a user types: weights, family.loc, ...

    estimates: of the fit itself. draws: (repeats, ...) of each, components aligned to those of the fit; repeats that
    degenerated are not among them. failures: one sentence for each of these. unconverged: how many of the draws are of
    fits that reached max_passes.
    """

    estimates: dict[str, Tensor]
    draws: dict[str, Tensor]
    failures: tuple[str, ...]
    unconverged: int

    @property
    def errors(self) -> dict[str, Tensor]:
        """Standard errors: the standard deviations of the draws."""
        return {name: draws.std(0) for name, draws in self.draws.items()}

    def __getitem__(self, name: str) -> Tensor:
        """The standard errors of a parameter."""
        return self.draws[name].std(0)

    def interval(self, name: str, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """The percentile interval of each number of a parameter: it never leaves the parameter's range."""
        require_level(level)
        ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        lower, upper = torch.quantile(self.draws[name].double(), ends, dim=0)
        return lower, upper

    def frame(self, level: float = 0.95) -> pd.DataFrame:
        """One row for each number that varies: estimate, standard_error, and the percentile interval from lower to
        upper."""
        parts = {n: (value, self[n], *self.interval(n, level)) for n, value in self.estimates.items()}
        return numbers(parts, {name: (draws != draws[0]).any(0) for name, draws in self.draws.items()})

    def __str__(self) -> str:
        done = len(next(iter(self.draws.values())))
        lines = [self.frame().to_string(float_format="{:.5g}".format), f"{done} resamples"]
        if self.unconverged:
            lines[1] += f", {self.unconverged} of them stopped before they converged"
        if self.failures:
            lines.append(f"{len(self.failures)} more degenerated and are left out, such as: {self.failures[0]}")
        return "\n".join(lines)

    __repr__ = __str__


def bootstrap(
    fit: Fit,
    x: Any,
    repeats: int = 100,
    weights: Any = None,
    labels: Any = None,
    seed: int = 0,
    max_passes: int = 500,
    of: Of = None,
) -> Bootstrap:
    """Fit `repeats` resamples of the rows, each from the parameters of the fit, so that each stays near its optimum.

    A resample is the table itself with multinomial row weights. Of rows with weights w, which count as w rows each, as
    many are drawn as they count, sum(w), each with probability w / sum(w): the bootstrap of the repeated rows. (Where
    sum(w) is no whole number, the next one, scaled back to the same total.) Components are aligned to those of the fit,
    row by row of the table, unless labels or frozen parameters say which is which. A probability of exactly 0 stays
    there. of: as `standard_errors` takes it. Efron & Tibshirani, An Introduction to the Bootstrap (1993).

    Raises what the last repeat raised if all of them degenerate, and ValueError for fewer than 2 repeats or for other
    rows than those of the fit.
    """
    if not isinstance(repeats, Integral) or repeats < 2:
        raise ValueError(f"repeats is {repeats!r}, expected a whole number of at least 2")
    require_estimates(fit.model)
    parameters = dict(fit.model.named_parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters.values()):
        raise ValueError("every parameter of the fit is frozen, expected some that vary from resample to resample")
    rows = as_rows(x, weights, labels, fit.model)
    found_there, bound = float(data_bound(fit.model, rows)), float(fit.bounds[-1])
    if not abs(found_there - bound) <= 1e-6 * (1 + abs(bound)):
        raise ValueError(
            f"the fit ended at {bound:.6f} nats per row and has {found_there:.6f} on these rows, expected the rows, "
            "weights and labels that it was made on"
        )
    named = rows.labels is not None and bool((rows.labels >= 0).any())
    constants = {f"{name}_unconstrained" for name in getattr(fit.model, "constants", ())}
    held = any(not parameter.requires_grad and name not in constants for name, parameter in parameters.items())
    random = np.random.default_rng(seed)
    found: dict[str, list[Tensor]] = {}
    failures: list[str] = []
    unconverged, last = 0, None
    for _ in range(int(repeats)):
        try:
            again = fit_model(
                fit.model, rows.weighted(resample(rows, random)), fit.engine, max_passes=max_passes, seed=seed
            )
        except (ArithmeticError, ValueError) as error:  # a collapse, or a column that is constant in the resample
            failures.append(str(error))
            last = error
            continue
        unconverged += not again.converged
        model = again.model if named or held else _aligned(fit.model, again.model, rows)
        for name, value in _values(model, of).items():
            found.setdefault(name, []).append(value)
    if len(failures) > repeats - 2:
        assert last is not None
        raise last
    draws = {name: torch.stack(values) for name, values in found.items()}
    return Bootstrap(_values(fit.model, of), draws, tuple(failures), unconverged)


def resample(rows: Rows, random: np.random.Generator) -> Float[Tensor, " n"]:
    """Multinomial weights (n,) of the same total as those of the rows."""
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights.numpy()
    total = weights.sum()
    size = max(round(total), 1)
    return torch.as_tensor(random.multinomial(size, weights / total) * (total / size))


@torch.no_grad()
def _aligned(original: Any, model: Any, rows: Rows) -> Any:
    """The model with the labelling of the original; as it is where it has no labels."""
    try:
        order = align(original, model, rows)
    except TypeError:  # a continuous latent
        return model
    model = copy.deepcopy(model)
    model.permute(order)
    return model


def _values(model: Any, of: Of) -> dict[str, Tensor]:
    """Parameters and other functions of the model; those that are frozen do not vary."""
    return {name: value.detach().clone() for name, value in values_of(model, of).items()}

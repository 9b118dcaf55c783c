"""`bootstrap`: how a fit varies from sample to sample, by fits to resamples of its rows (nonparametric bootstrap)."""

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
from ...data.seeds import require_seed
from ...models import Rows
from ...models.abilities import HasComponents, HasConstants
from ..engines.data_bound import data_bound
from ..fitting.fit import fit as fit_model
from ..fitting.fit_result import Fit
from ..fitting.result_checks import require_made_by
from .align import align
from .estimate_table import Of, estimate_table, require_estimates, require_known, require_level
from .named_parameters import values_of


@dataclass(frozen=True)
class Bootstrap:
    """Parameters of a fit and of fits to resamples, by the names a user types: what `bootstrap` returns.

    Attributes:
        estimates: Values of the fit itself by name, such as "weights" and "family.loc".
        draws: (repeats, ...) values of the fits to resamples, with components aligned to those of the fit. Fits that
            degenerated are left out.
        failures: One sentence for each fit that degenerated.
        unconverged: How many of the draws are of fits that reached max_passes.

    Example:
        >>> import torch
        >>> from lowerbound.inference import Bootstrap
        >>> found = Bootstrap({"rate": torch.tensor(2.0)}, {"rate": torch.tensor([1.0, 2.0, 3.0])}, (), 0)
        >>> found["rate"]
        tensor(1.)
        >>> [float(limit) for limit in found.interval("rate", 0.5)]
        [1.5, 2.5]
    """

    estimates: dict[str, Tensor]
    draws: dict[str, Tensor]
    failures: tuple[str, ...]
    unconverged: int

    @property
    def errors(self) -> dict[str, Tensor]:
        """Standard errors by name: the standard deviations of the draws."""
        return {name: draws.std(0) for name, draws in self.draws.items()}

    def __getitem__(self, name: str) -> Tensor:
        """The standard errors of a parameter. Raises ValueError for a name that is not in `draws`."""
        return require_known(name, self.draws).std(0)

    def interval(self, name: str, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """The percentile interval of each number of a parameter, which never leaves the parameter's range.

        Args:
            name: The name of the parameter.
            level: The share of the draws inside the interval.

        Returns:
            Lower and upper limits, of the shape of the parameter.

        Raises:
            ValueError: `level` is no probability, or there is no such name.
        """
        require_level(level)
        tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        lower, upper = torch.quantile(require_known(name, self.draws).double(), tails, dim=0)
        return lower, upper

    def frame(self, level: float = 0.95) -> pd.DataFrame:
        """Estimates with standard errors and percentile intervals.

        Args:
            level: The share of the draws inside each interval.

        Returns:
            One row for each number that varies, with the columns estimate, standard_error, lower, upper.
        """
        parts = {n: (value, self[n], *self.interval(n, level)) for n, value in self.estimates.items()}
        return estimate_table(parts, {name: (draws != draws[0]).any(0) for name, draws in self.draws.items()})

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
    bayesian: bool = False,
) -> Bootstrap:
    """Fit `repeats` resamples of the rows, each from the parameters of the fit, so that each stays near its optimum.

    A resample is the table itself with multinomial row weights. A row of weight w counts as w rows: sum(w) rows are
    drawn, each with probability w_i / sum(w). If sum(w) is not a whole number, it is rounded, and the weights are
    scaled back to the same total. Components are aligned to those of the fit, unless labels or frozen parameters
    identify them. A probability of exactly 0 stays 0. Efron & Tibshirani, An Introduction to the Bootstrap (1993).

    `bayesian=True` draws the row weights from a Dirichlet instead. No row is then left out, so that each draw gives
    every row of x a positive density, where a resample without the only row of some category may give it 0. Rubin,
    Annals of Statistics 9 (1981), 130-134; Newton & Raftery, Journal of the Royal Statistical Society B 56 (1994).

    Args:
        fit: What `fit` returned.
        x: (n, d) rows of the fit.
        repeats: The number of resamples, at least 2.
        weights: (n,) row weights of the fit, or None.
        labels: (n,) labels of the fit, -1 where unknown, or None.
        seed: The same seed gives the same numbers.
        max_passes: Passes over the rows after which the fit to a resample stops.
        of: Other functions of the model by name, as `standard_errors` takes them; they need no gradient here.
        bayesian: Whether the row weights are sum(w) times a draw of Dirichlet(w), and not multinomial.

    Returns:
        A `Bootstrap`: print it, or take its numbers from `frame()` and `draws`.

    Raises:
        TypeError: `fit` is no `Fit`, or its model has a posterior over its parameters.
        ValueError: There are fewer than 2 repeats, every parameter is frozen, or the rows are not those of the fit.
        ArithmeticError: Fewer than 2 fits to resamples did not collapse; other errors of the last one pass through.

    Example:
        >>> from lowerbound.inference import EM, bootstrap, fit
        >>> from lowerbound.models import PoissonMixture
        >>> x = [[1.0], [3.0], [2.0], [2.0]]
        >>> found = bootstrap(fit(PoissonMixture(1, 1), x, EM()), x, repeats=20)
        >>> found.draws["family.rate"].shape
        torch.Size([20, 1, 1])
    """
    if not isinstance(repeats, Integral) or repeats < 2:
        raise ValueError(f"repeats is {repeats!r}, expected a whole number of at least 2")
    require_made_by("fit()", Fit, fit=fit)
    require_estimates(fit.model)
    parameters = dict(fit.model.named_parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters.values()):
        raise ValueError("every parameter of the fit is frozen, expected some that vary from resample to resample")
    rows = as_rows(x, weights, labels, fit.model)
    own_bound, bound = float(data_bound(fit.model, rows)), float(fit.bounds[-1])
    if not abs(own_bound - bound) <= 1e-6 * (1 + abs(bound)):
        raise ValueError(
            f"the fit ended at {bound:.6f} nats per row and has {own_bound:.6f} on these rows, expected the rows, "
            "weights and labels of the fit"
        )
    has_labels = rows.labels is not None and bool((rows.labels >= 0).any())
    constants = {f"{name}_unconstrained" for name in _constants(fit.model)}
    has_frozen = any(not parameter.requires_grad and name not in constants for name, parameter in parameters.items())
    random = np.random.default_rng(require_seed(seed))
    draw_weights = dirichlet_weights if bayesian else resample_weights
    found: dict[str, list[Tensor]] = {}
    failures: list[str] = []
    unconverged, last = 0, None
    for _ in range(int(repeats)):
        try:
            again = fit_model(
                fit.model, rows.weighted(draw_weights(rows, random)), fit.engine, max_passes=max_passes, seed=seed
            )
        except (ArithmeticError, ValueError) as error:  # a collapse, or a column that is constant in the resample
            failures.append(str(error))
            last = error
            continue
        unconverged += not again.converged
        model = again.model if has_labels or has_frozen else _aligned(fit.model, again.model, rows)
        for name, value in _values(model, of).items():
            found.setdefault(name, []).append(value)
    if len(failures) > repeats - 2:
        assert last is not None
        raise last
    draws = {name: torch.stack(values) for name, values in found.items()}
    return Bootstrap(_values(fit.model, of), draws, tuple(failures), unconverged)


def resample_weights(rows: Rows, random: np.random.Generator) -> Float[Tensor, " n"]:
    """Multinomial row weights with the same total as those of the rows."""
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights.numpy()
    total = weights.sum()
    size = max(round(total), 1)
    return torch.as_tensor(random.multinomial(size, weights / total) * (total / size))


def dirichlet_weights(rows: Rows, random: np.random.Generator) -> Float[Tensor, " n"]:
    """Row weights sum(w) times a draw of Dirichlet(w): as variable as multinomial ones, and positive where w is."""
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights.numpy()
    drawn = random.standard_gamma(weights)
    drawn = np.where(weights > 0, np.maximum(drawn, np.finfo(float).tiny), 0.0)  # a tiny weight may give 0 to rounding
    return torch.as_tensor(drawn * (weights.sum() / drawn.sum()))


def _constants(model: Any) -> tuple[str, ...]:
    return model.constants if isinstance(model, HasConstants) else ()


@torch.no_grad()
def _aligned(original: Any, model: Any, rows: Rows) -> Any:
    """A copy of the model with components aligned to the original; the model itself if it cannot be relabelled."""
    try:
        order = align(original, model, rows)
    except TypeError:  # a continuous latent
        return model
    if not isinstance(model, HasComponents):
        return model
    model = copy.deepcopy(model)
    model.permute(order)
    return model


def _values(model: Any, of: Of) -> dict[str, Tensor]:
    """Copies of the parameters that are not frozen, and of other functions of the model."""
    return {name: value.detach().clone() for name, value in values_of(model, of).items()}

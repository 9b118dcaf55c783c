"""check_family: what must hold for a family before EM, SVI and compare can rely on it."""

from __future__ import annotations

import copy
from typing import Any

import torch

from ...data.rows import Rows
from ..families.family import Family
from ..mixtures.starts import soft_responsibilities
from .check_abilities import (
    check_allows_frozen,
    check_conjugate,
    check_expected_log_prob,
    check_side_by_side,
    check_takes_missing,
)
from .check_density import check_component, check_components, check_log_prob
from .check_m_step import check_maximize, check_sums


@torch.no_grad()
def check_family(family: Family, x: Any, seed: int = 0) -> None:
    """Check that a family of your own keeps the contract of `Family`, and has the abilities that it claims.

    It must give the log densities of `component`, sums that add up over rows, and an M-step that raises the expected
    log-likelihood to where its gradient is zero. Components must be such that they can be relabelled and drawn from.
    This holds for all three kinds of family: exact, with a second latent variable, and generalized (gradient steps).

    The abilities on its class line are checked too. `TakesMissing`: the same with missing values. `AllowsFrozen`: the
    same with each parameter frozen. `SideBySide`: two copies in one give what two families give. `HasExpectedLogProb`:
    its gradient is that of the expected log-likelihood. `Conjugate`: the log evidence of a row is the same by
    `predictive`, by Bayes' rule with `gain`, and by the bound with `expected`.

    Args:
        family: the family. It is copied, not changed.
        x: (n, d) rows that it might have given, at least two for each component.
        seed: for random responsibilities, and values that are made missing.

    Raises:
        TypeError: if it is not a `Family`.
        ValueError: at the first thing that does not hold, in one sentence.

    Example:
        >>> import torch
        >>> from lowerbound.models import Poisson, check_family
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [1.0], [7.0], [9.0], [8.0], [12.0]])
        >>> check_family(Poisson(components=2, features=1), x)
        >>> class Wrong(Poisson):
        ...     def match(self, mean):
        ...         self.rate = mean + 1
        >>> try:
        ...     check_family(Wrong(components=2, features=1), x)
        ... except ValueError as error:
        ...     print(str(error).split(" of ")[0])
        Wrong: where maximize() ends, rate still has a slope
    """
    if not isinstance(family, Family):
        raise TypeError(f"got {type(family).__name__}, expected a Family")
    family = copy.deepcopy(family)
    name = type(family).__name__
    if not list(family.parameters()):
        raise ValueError(f"{name} has no parameters, expected PyroParams: self.rate = PyroParam(start, constraint)")
    try:
        _check(name, family, x, seed)
    except (RuntimeError, IndexError) as error:  # raised by torch
        raise ValueError(
            f"{name}: {' '.join(str(error).split())}: expected component(z) of batch shape (n,) for n indices z, "
            "statistics (n, s) of rows (n, d), and match to take means (k, s)"
        ) from error


def _check(name: str, family: Family, x: Any, seed: int) -> None:
    rows = Rows(x)
    x = torch.cat([chunk.x for chunk in rows.chunks()])
    check_component(name, family, x)
    k = family.components
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randperm(len(x), generator=generator)[:k]
    locations = family.coordinates(x, rows.moments)
    r = soft_responsibilities(locations, locations[centres], 0.3)
    r = r * torch.rand(len(x), 1, generator=generator, dtype=r.dtype)
    family.set_units(x[centres], rows.moments)
    family.start(x, r)
    if not family.is_set:
        missing = ", ".join(sorted(family._pyro_params.keys() - family.names_set))
        raise ValueError(
            f"{name}: match() left {missing} unset, expected it to assign every parameter, as in "
            f"self.{missing.split(',')[0]} = ..."
        )
    check_log_prob(name, family, x)
    check_sums(name, family, x, r)
    check_maximize(name, family, x, r)
    if family.takes_missing:
        check_takes_missing(name, family, x, r, generator)
    if family.allows_frozen:
        check_allows_frozen(name, family, x, r)
    if family.has_expected_log_prob and not family.lacking_expected_log_prob():
        check_expected_log_prob(name, family, x, r)
    if family.repeatable:
        check_side_by_side(name, family, x, r)
    if family.is_conjugate:
        check_conjugate(name, family, x, r, rows.moments)
    check_components(name, family, x, r)

"""Which prior and posterior a family's parameters have: conjugate ones by the kind of family, or priors by name.

A family with the ability `Conjugate` needs no entry here. One whose conjugate posterior is of another form, as that of
a Gaussian, is registered by `@posterior_for_family.register(Kind)`, on a function of the same arguments that returns a
subclass of `PriorAndPosterior`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

from torch.distributions import Dirichlet

from ..families.categorical import Categorical
from ..families.conjugate_priors import Priors
from ..families.family import Family
from ..families.gaussian import Gaussian
from ..families.product import Product
from .conjugate_posterior import ConjugatePosterior
from .gaussian_posterior import GaussianPosterior
from .named_priors import NamedPriors
from .prior_and_posterior import PriorAndPosterior
from .product_posterior import ProductPosterior


@singledispatch
def posterior_for_family(family: Family, prior: Any, conjugate: bool = True) -> PriorAndPosterior:
    """The prior of a family's parameters and, if `conjugate`, the posterior of the same kind.

    Args:
        family: Any family.
        prior: None for the family's own, "weak", a distribution of the conjugate kind, or {parameter: distribution}.
        conjugate: Whether a posterior in closed form is wanted. Without it a guide or a sampler finds the posterior.

    Raises:
        TypeError: The family has no conjugate prior, and `prior` does not give one for each parameter by name.
    """
    if isinstance(prior, Mapping) and not conjugate:
        return NamedPriors(family, prior)
    if family.is_conjugate:
        return ConjugatePosterior(family, prior, conjugate)
    raise TypeError(
        f"{type(family).__name__} has no conjugate prior, expected a family that has one, such as Gaussian, or a "
        "prior for each parameter, by name, and a guide, as in prior={...}, guide=AutoNormal"
    )


@posterior_for_family.register
def _(family: Gaussian, prior: Any, conjugate: bool = True) -> PriorAndPosterior:
    if isinstance(prior, Mapping) and not conjugate:
        return NamedPriors(family, prior)
    return GaussianPosterior(family, prior, conjugate)


@posterior_for_family.register
def _(family: Categorical, prior: Any, conjugate: bool = True) -> PriorAndPosterior:
    """For columns with different numbers of levels the prior and posterior of a product of single columns."""
    if len(set(family.levels)) == 1:
        return posterior_for_family.dispatch(Family)(family, prior, conjugate)
    each: Any = prior
    if prior is not None or (family.priors and not family.priors.is_weak):
        given: Any = family.priors.distribution("probs") if prior is None else prior
        given = given.get("probs", given) if isinstance(given, Mapping) else given
        if isinstance(given, Dirichlet):
            expanded: Any = Priors({"probs": given}, family.priors.kinds, proper=True).distribution("probs")
            each = [Dirichlet(expanded.concentration[j : j + 1, :n]) for j, n in enumerate(family.levels)]
    columns = Product(*(Categorical(family.components, [n]) for n in family.levels))
    return posterior_for_family(columns, each, conjugate)


@posterior_for_family.register
def _(family: Product, prior: Any, conjugate: bool = True) -> PriorAndPosterior:
    """Independent ones for the groups of columns. prior: None, "weak" or a list with one for each group."""
    families = list(family.parts)  # type: ignore[reportArgumentType]
    if isinstance(prior, Sequence) and not isinstance(prior, str):
        if len(prior) != len(families):
            raise ValueError(f"got {len(prior)} priors, expected one for each of {len(families)} groups of columns")
        each = list(prior)
    elif prior is None or isinstance(prior, str):
        each = [prior] * len(families)
    else:
        raise ValueError(f"prior is {prior!r}, expected 'weak' or a list, with a prior for each group of columns")
    made = [posterior_for_family(part, own, conjugate) for part, own in zip(families, each, strict=True)]
    return ProductPosterior(family, made, conjugate)

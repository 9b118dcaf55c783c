"""Which beliefs a family's parameters have: its conjugate posterior, or priors by name.

A family of a new kind that has a conjugate posterior is registered here: `beliefs_about.register(Kind)`.
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
from .beliefs import Beliefs
from .conjugate_beliefs import ConjugateBeliefs
from .gaussian_beliefs import GaussianBeliefs
from .named_priors import NamedPriors
from .product_beliefs import ProductBeliefs


@singledispatch
def beliefs_about(family: Family, prior: Any, conjugate: bool = True) -> Beliefs:
    """The prior of a family's parameters, and with `conjugate` a posterior of its kind.

    Args:
        family: k members of any family.
        prior: None for the family's own, "weak", a distribution of the conjugate kind, or {parameter: distribution}.
        conjugate: whether the posterior has a closed form; without it a guide or a sampler finds it.

    Raises:
        TypeError: the family has no conjugate posterior, and `prior` does not name one for each parameter.
    """
    if isinstance(prior, Mapping) and not conjugate:
        return NamedPriors(family, prior)
    if family.is_conjugate:
        return ConjugateBeliefs(family, prior, conjugate)
    raise TypeError(
        f"{type(family).__name__} has no conjugate prior, expected a family that has one, such as Gaussian, or a "
        "prior for each parameter, by name, and a guide, as in prior={...}, guide=AutoNormal"
    )


@beliefs_about.register
def _(family: Gaussian, prior: Any, conjugate: bool = True) -> Beliefs:
    if isinstance(prior, Mapping) and not conjugate:
        return NamedPriors(family, prior)
    return GaussianBeliefs(family, prior, conjugate)


@beliefs_about.register
def _(family: Categorical, prior: Any, conjugate: bool = True) -> Beliefs:
    """Of columns with different numbers of levels, those of each by itself."""
    if len(set(family.levels)) == 1:
        return beliefs_about.dispatch(Family)(family, prior, conjugate)
    each: Any = prior
    if prior is not None or (family.priors and not family.priors.is_weak):
        given: Any = family.priors.distribution("probs") if prior is None else prior
        given = given.get("probs", given) if isinstance(given, Mapping) else given
        if isinstance(given, Dirichlet):
            whole: Any = Priors({"probs": given}, family.priors.kinds, proper=True).distribution("probs")
            each = [Dirichlet(whole.concentration[j : j + 1, :n]) for j, n in enumerate(family.levels)]
    apart = Product(*(Categorical(family.components, [n]) for n in family.levels))
    return beliefs_about(apart, each, conjugate)


@beliefs_about.register
def _(family: Product, prior: Any, conjugate: bool = True) -> Beliefs:
    """Those of each group of columns; prior: "weak", or a list with one for each group."""
    families = list(family.parts)  # type: ignore[reportArgumentType]
    if isinstance(prior, Sequence) and not isinstance(prior, str):
        if len(prior) != len(families):
            raise ValueError(f"got {len(prior)} priors, expected one for each of {len(families)} groups of columns")
        each = list(prior)
    elif prior is None or isinstance(prior, str):
        each = [prior] * len(families)
    else:
        raise ValueError(f"prior is {prior!r}, expected 'weak' or a list, with a prior for each group of columns")
    made = [beliefs_about(part, own, conjugate) for part, own in zip(families, each, strict=True)]
    return ProductBeliefs(family, made, conjugate)

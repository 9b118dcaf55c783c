"""What can be asked for by name: models, engines and priors. A new one is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Choices:
    """What the options say of a model; covariance and prior None if they say nothing."""

    components: int
    covariance: str | None
    prior: str | None


@dataclass(frozen=True)
class Kind:
    """How a model is made from rows and choices, and what it takes."""

    make: Callable[[Any, Choices], Any]
    categories: bool = False  # columns of words
    covariance: bool = False
    prior: bool = True


def _mixture(name: str, rows: Any, choices: Choices) -> Any:
    """A mixture of lowerbound.models whose first arguments are the components and the columns."""
    from .. import models

    return getattr(models, name)(choices.components, rows.features, prior=choices.prior)


def _scattered(name: str, rows: Any, choices: Choices) -> Any:
    """A mixture with covariances."""
    from .. import models

    shape = choices.covariance or "full"
    return getattr(models, name)(choices.components, rows.features, covariance=shape, prior=choices.prior)


def _categorical(rows: Any, choices: Choices) -> Any:
    from ..models import CategoricalMixture
    from .columns import levels

    return CategoricalMixture(choices.components, levels(rows), choices.prior)


def _kmeans(rows: Any, choices: Choices) -> Any:
    from ..models import KMeans

    return KMeans(choices.components, rows.features)


def _mixed(rows: Any, choices: Choices) -> Any:
    from .columns import mixed

    return mixed(rows, choices.components, choices.covariance or "full", choices.prior)


def _em() -> Any:
    from .em import EM

    return EM()


def _svi(elbo: Any) -> Any:
    from .svi import SVI

    return SVI(elbo=elbo)


MODELS: dict[str, Kind] = {
    "gaussian": Kind(partial(_scattered, "GaussianMixture"), covariance=True),
    "student": Kind(partial(_scattered, "StudentTMixture"), covariance=True),
    "gamma": Kind(partial(_mixture, "GammaMixture")),
    "exponential": Kind(partial(_mixture, "ExponentialMixture")),
    "poisson": Kind(partial(_mixture, "PoissonMixture")),
    "negative-binomial": Kind(partial(_mixture, "NegativeBinomialMixture")),
    "multinomial": Kind(partial(_mixture, "MultinomialMixture")),
    "bernoulli": Kind(partial(_mixture, "BernoulliMixture")),
    "categorical": Kind(_categorical, categories=True),
    "mixed": Kind(_mixed, categories=True, covariance=True),
    "kmeans": Kind(_kmeans, prior=False),
}
ENGINES: dict[str, Callable[[], Any]] = {
    "em": _em,
    "svi": partial(_svi, "sampled"),
    "svi-sampled": partial(_svi, "sampled"),
    "svi-enumerated": partial(_svi, "enumerated"),
    "svi-exact": partial(_svi, "exact"),
}
PRIORS: dict[str, str | None] = {"none": None, "weak": "weak"}


def build(data: str, model: str, components: int, covariance: str | None, prior: str) -> tuple[Any, Any]:
    """The rows, and the model of the options, not fitted yet."""
    kind = pick(model, MODELS, "--model")
    choices = Choices(components, covariance, pick(prior, PRIORS, "--prior"))
    if choices.prior is not None and not kind.prior:
        raise ValueError(f"--prior is {prior!r}, but --model {model} has none: leave it out")
    if covariance is not None and not kind.covariance:
        able = _listed(name for name, each in MODELS.items() if each.covariance)
        raise ValueError(f"--covariance is {covariance!r}, but --model {model} has none, expected --model {able}")

    from ..models import Rows
    from .read import read

    table = read(data)
    if model == "categorical":
        from .columns import coded

        table = coded(table)
    rows = Rows(table)
    words = [repr(name) for name, levels in zip(rows.columns, rows.levels, strict=True) if levels is not None]
    if words and not kind.categories:
        able = _listed(name for name, each in MODELS.items() if each.categories)
        names = ", ".join(words[:4]) + (f", ... ({len(words)})" if len(words) > 4 else "")
        holds = f"column{'s' if len(words) > 1 else ''} {names} of {Path(data).name} hold{'s' * (len(words) == 1)}"
        raise ValueError(
            f"{holds} categories, but --model {model} expects numbers: use --model {able}, or drop such columns"
        )
    return rows, kind.make(rows, choices)


def pick(name: str, table: Mapping[str, Any], option: str) -> Any:
    """The entry of a name. Raises ValueError with the names there are."""
    if name not in table:
        raise ValueError(f"{option} is {name!r}, expected one of {', '.join(table)}")
    return table[name]


def _listed(names: Any) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last

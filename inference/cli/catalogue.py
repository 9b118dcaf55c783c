"""What can be asked for by name: models, engines and priors. A new one is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Choices:
    """What the options say of the models; None where they say nothing."""

    components: int | None = None
    covariance: str | None = None
    prior: str | None = None
    latent: int | None = None
    hidden: tuple[int, ...] | None = None
    variance_floor: float | None = None


@dataclass(frozen=True)
class Settings:
    """What the options say of the engines; None where they say nothing."""

    batch_size: int | None = None
    learning_rate: float | None = None


@dataclass(frozen=True)
class Kind:
    """How a model is made from rows and choices, which of them it takes, and which engines fit it."""

    make: Callable[[Any, Choices], Any]
    takes: frozenset[str]  # names of choices
    categories: bool = False  # columns of words
    missing: bool = True  # cells that were not seen
    engines: tuple[str, ...] = ("em", "svi")  # by default; the first is its own
    batch_size: int | None = None  # by default


def _mixture(name: str, rows: Any, choices: Choices) -> Any:
    """A mixture of lowerbound.models whose first arguments are the components and the columns."""
    from ... import models

    return getattr(models, name)(choices.components or COMPONENTS, rows.features, prior=choices.prior)


def _scattered(name: str, rows: Any, choices: Choices) -> Any:
    """A mixture with covariances."""
    from ... import models

    k, shape = choices.components or COMPONENTS, choices.covariance or "full"
    return getattr(models, name)(k, rows.features, covariance=shape, prior=choices.prior)


def _gaussian(rows: Any, choices: Choices) -> Any:
    from ...models import GaussianMixture

    k, shape, floor = choices.components or COMPONENTS, choices.covariance or "full", choices.variance_floor or 0.0
    return GaussianMixture(k, rows.features, shape, choices.prior, variance_floor=floor)


def _categorical(rows: Any, choices: Choices) -> Any:
    from ...models import CategoricalMixture
    from .column_kinds import levels

    return CategoricalMixture(choices.components or COMPONENTS, levels(rows), choices.prior)


def _kmeans(rows: Any, choices: Choices) -> Any:
    from ...models import KMeans

    return KMeans(choices.components or COMPONENTS, rows.features)


def _mixed(rows: Any, choices: Choices) -> Any:
    from .column_kinds import mixed

    return mixed(rows, choices.components or COMPONENTS, choices.covariance or "full", choices.prior)


def _ppca(rows: Any, choices: Choices) -> Any:
    from ...models import PPCA

    return PPCA(rows.features, _latent(rows, choices))


def _linear_vae(rows: Any, choices: Choices) -> Any:
    from ...models import linear_vae

    return linear_vae(rows.features, _latent(rows, choices))


def _vae(rows: Any, choices: Choices) -> Any:
    from .column_kinds import autoencoder

    return autoencoder(rows, _latent(rows, choices), choices.hidden or HIDDEN, choices.variance_floor)


def _latent(rows: Any, choices: Choices) -> int:
    return choices.latent or min(LATENT, (rows.features + 1) // 2)


def _em(settings: Settings = Settings()) -> Any:
    from ..engines.em import EM

    return EM()


def _svi(elbo: Any, settings: Settings = Settings()) -> Any:
    from ..engines.svi import SVI

    return SVI(elbo=elbo, batch_size=settings.batch_size, learning_rate=settings.learning_rate)


def _nuts(settings: Settings = Settings()) -> Any:
    from ..engines.nuts import NUTS

    return NUTS()


COMPONENTS = 2
LATENT = 10  # at most, by default
HIDDEN = (200, 200)
BATCH = 100  # rows of a step of a network

_DENSITIES = frozenset({"components", "covariance", "prior"})
_COUNTS = frozenset({"components", "prior"})
_NETWORKS = {"engines": ("svi-analytic",), "batch_size": BATCH, "missing": False}
MODELS: dict[str, Kind] = {
    "gaussian": Kind(_gaussian, _DENSITIES | {"variance_floor"}),
    "student": Kind(partial(_scattered, "StudentTMixture"), _DENSITIES),
    "gamma": Kind(partial(_mixture, "GammaMixture"), _COUNTS),
    "exponential": Kind(partial(_mixture, "ExponentialMixture"), _COUNTS),
    "poisson": Kind(partial(_mixture, "PoissonMixture"), _COUNTS),
    "negative-binomial": Kind(partial(_mixture, "NegativeBinomialMixture"), _COUNTS),
    "multinomial": Kind(partial(_mixture, "MultinomialMixture"), _COUNTS, missing=False),
    "bernoulli": Kind(partial(_mixture, "BernoulliMixture"), _COUNTS),
    "categorical": Kind(_categorical, _COUNTS, categories=True),
    "mixed": Kind(_mixed, frozenset({"components", "covariance", "prior"}), categories=True),
    "kmeans": Kind(_kmeans, frozenset({"components"}), missing=False),
    "ppca": Kind(_ppca, frozenset({"latent"}), missing=False),
    "linear-vae": Kind(_linear_vae, frozenset({"latent"}), **_NETWORKS),
    "vae": Kind(_vae, frozenset({"latent", "hidden", "variance_floor"}), categories=True, **_NETWORKS),
}
BAYESIAN = ("vb", "vb-svi", "nuts")  # engines that fit a posterior over the parameters
ENGINES: dict[str, Callable[..., Any]] = {
    "em": _em,
    "vb": _em,
    "vb-svi": partial(_svi, "sampled"),
    "nuts": _nuts,
    "svi": partial(_svi, "sampled"),
    "svi-sampled": partial(_svi, "sampled"),
    "svi-enumerated": partial(_svi, "enumerated"),
    "svi-exact": partial(_svi, "exact"),
    "svi-analytic": partial(_svi, "analytic"),
}
PRIORS: dict[str, str | None] = {"none": None, "weak": "weak"}


def tables(data: str, models: Sequence[str], held_out: float, seed: int) -> tuple[Any, Any, Any]:
    """The rows of a data set, for these models, where `held_out` is a share of them those left out, else None, and all
    of them, which know every category."""
    from ...data.held_out import split
    from ...data.read_file import read
    from ...models import Rows
    from ..fitting.distributed_rows import rows_for_fit

    table = read(data)
    if all(model == "categorical" for model in models):
        from .column_kinds import coded

        table = coded(table)
    rest, others = split(table, held_out, seed) if held_out else (table, None)
    rows, whole = Rows(rest, missing=True), Rows(table, missing=True)
    asked = rows_for_fit(whole)
    words = [repr(name) for name, levels in zip(rows.columns, rows.levels, strict=True) if levels is not None]
    unable = [model for model in models if not MODELS[model].categories]
    if words and unable:
        able = _listed(n for n, each in MODELS.items() if each.categories and (each.missing or not asked.gaps.cells))
        names = ", ".join(words[:4]) + (f", ... ({len(words)})" if len(words) > 4 else "")
        holds = f"column{'s' if len(words) > 1 else ''} {names} of {Path(data).name} hold{'s' * (len(words) == 1)}"
        raise ValueError(
            f"{holds} categories, but --model {unable[0]} expects numbers: use --model {able}, or drop such columns"
        )
    unable = [model for model in models if not MODELS[model].missing]
    if unable and asked.gaps.cells:
        able = _listed(name for name, each in MODELS.items() if each.missing and (each.categories or not words))
        raise ValueError(
            f"{asked.gaps.first} in {Path(data).name}, but --model {unable[0]} takes whole rows only: use --model "
            f"{able}, or drop such rows"
        )
    return rows, None if others is None else Rows(others, missing=True), whole


def require_used(models: Sequence[str], engines: Sequence[str], settings: Settings, device: str | None) -> None:
    """Raise ValueError for an option of gradient steps where none is taken, or of networks where there is none."""
    for name in ("batch_size", "learning_rate"):
        value = getattr(settings, name)
        if value is not None and not any("svi" in engine for engine in engines):
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} is {value!r}, but {', '.join(engines)} takes no gradient steps: add svi")
    if device is not None and not any(MODELS[model].batch_size for model in models):
        able = _listed(name for name, each in MODELS.items() if each.batch_size)
        raise ValueError(f"--device is {device!r}, but --model {','.join(models)} has no network: take {able}")


def make(model: str, rows: Any, choices: Choices, device: str | None) -> Any:
    """The model of that name, not fitted yet; networks on a device."""
    made = MODELS[model].make(rows, choices)
    if device is None or MODELS[model].batch_size is None:
        return made
    try:
        return made.to(device)
    except (RuntimeError, AssertionError) as error:  # torch was built without it, or there is none
        raise ValueError(f"--device is {device!r}, expected one that torch has here: {error}") from error


def for_engine(model: Any, name: str, engine: str) -> Any:
    """The model as an engine fits it: with a posterior over its parameters for those that are `BAYESIAN`."""
    from ...models import BayesianMixture, KMeans, Mixture

    if engine not in BAYESIAN:
        return model
    if not isinstance(model, Mixture) or isinstance(model, KMeans):
        raise ValueError(f"{engine} fits a posterior over the parameters of a mixture, which --model {name} is not")
    try:
        return BayesianMixture(model.family)
    except TypeError as error:
        raise ValueError(f"{engine} needs a conjugate prior, which --model {name} has none of") from error


def require_taken(models: Sequence[str], choices: Any) -> None:
    """Raise ValueError for an option that none of the models takes."""
    for field in fields(choices):
        value = getattr(choices, field.name)
        if value is None or any(field.name in MODELS[model].takes for model in models):
            continue
        option = f"--{field.name.replace('_', '-')}"
        said = ",".join(map(str, value)) if isinstance(value, tuple) else value
        able = _listed(name for name, each in MODELS.items() if field.name in each.takes)
        raise ValueError(f"{option} is {said!r}, but --model {','.join(models)} has none, expected --model {able}")


def pick(name: str, table: Mapping[str, Any], option: str) -> Any:
    """The entry of a name. Raises ValueError with the names there are."""
    if name not in table:
        raise ValueError(f"{option} is {name!r}, expected one of {', '.join(table)}")
    return table[name]


def listing(names: str, table: Mapping[str, Any], option: str) -> list[str]:
    """Names separated by commas, each in the table and there once."""
    each = [name.strip() for name in names.split(",")]
    for name in each:
        pick(name, table, option)
    if len(set(each)) < len(each):
        raise ValueError(f"{option} is {names!r}, expected each name once")
    return each


def _listed(names: Any) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last

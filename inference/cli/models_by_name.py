"""The models that `--model` accepts. A new model is one line in `MODELS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...data.schema import Schema
from ...models import (
    PPCA,
    BernoulliMixture,
    CategoricalMixture,
    ExponentialMixture,
    GammaMixture,
    GaussianMixture,
    KMeans,
    MultinomialMixture,
    NegativeBinomialMixture,
    PoissonMixture,
    Rows,
    StudentTMixture,
    linear_vae,
    mixed,
)
from ...models.kernels.covariance_shapes import SHAPES
from .column_kinds import categories_of
from .models_for_columns import vae_for_columns
from .name_options import join_with_or, look_up, parse_kinds


@dataclass(frozen=True)
class ModelOptions:
    """The options of the command line that belong to the models; None for an option that was not given."""

    components: int | None = None
    covariance: str | None = None
    prior: str | None = None
    latent: int | None = None
    hidden: tuple[int, ...] | None = None
    variance_floor: float | None = None
    kinds: Any = None  # of columns by name, as `mixed` takes them


@dataclass(frozen=True)
class ModelEntry:
    """A model of the command line: how to build it, and what it accepts."""

    build: Callable[[Rows, ModelOptions], Any]
    options: frozenset[str]  # names of the fields of ModelOptions that it reads
    categories: bool = False  # whether columns may hold categories
    missing: bool = True  # whether values may be missing
    engines: tuple[str, ...] = ("em", "svi")  # by default; the first one where only one is fitted
    batch_size: int | None = None  # of SVI by default; None of models without a network


def _mixture(constructor: Callable[..., Any], rows: Rows, options: ModelOptions) -> Any:
    """A mixture whose only options are the components and the prior."""
    return constructor(options.components or COMPONENTS, rows.features, prior=options.prior)


def _student(rows: Rows, options: ModelOptions) -> Any:
    k, covariance = options.components or COMPONENTS, options.covariance or "full"
    return StudentTMixture(k, rows.features, covariance=covariance, prior=options.prior)


def _gaussian(rows: Rows, options: ModelOptions) -> Any:
    k, covariance = options.components or COMPONENTS, options.covariance or "full"
    return GaussianMixture(k, rows.features, covariance, options.prior, variance_floor=options.variance_floor or 0.0)


def _categorical(rows: Rows, options: ModelOptions) -> Any:
    decided = {each.name: each.levels for each in options.kinds or () if each.levels is not None}  # by mixed, beside it
    schema, counts = categories_of(rows, decided)
    model = CategoricalMixture(options.components or COMPONENTS, counts, options.prior)
    if schema.levels != (rows.schema or Schema.plain(rows.features)).levels:
        model.schema = schema  # the levels that occur: this model reads the table by them, others as it is
    return model


def _kmeans(rows: Rows, options: ModelOptions) -> Any:
    return KMeans(options.components or COMPONENTS, rows.features)


def _mixed(rows: Rows, options: ModelOptions) -> Any:
    k, covariance = options.components or COMPONENTS, options.covariance or "full"
    return mixed(rows, k, covariance, options.prior, options.kinds)


def _ppca(rows: Rows, options: ModelOptions) -> Any:
    return PPCA(rows.features, _latent(rows, options))


def _linear_vae(rows: Rows, options: ModelOptions) -> Any:
    return linear_vae(rows.features, _latent(rows, options))


def _vae(rows: Rows, options: ModelOptions) -> Any:
    return vae_for_columns(rows, _latent(rows, options), options.hidden or HIDDEN, options.variance_floor)


def _latent(rows: Rows, options: ModelOptions) -> int:
    """How many latent dimensions: as asked for, else half the columns and at most `LATENT`."""
    return options.latent or min(LATENT, (rows.features + 1) // 2)


COMPONENTS = 2
LATENT = 10  # by default at most
HIDDEN = (200, 200)
BATCH = 100  # rows of one SVI step of a network

_COUNTS = frozenset({"components", "prior"})
_DENSITIES = _COUNTS | {"covariance"}
_NETWORKS = {"engines": ("svi-analytic",), "batch_size": BATCH, "missing": False}
MODELS: dict[str, ModelEntry] = {
    "gaussian": ModelEntry(_gaussian, _DENSITIES | {"variance_floor"}),
    "student": ModelEntry(_student, _DENSITIES),
    "gamma": ModelEntry(partial(_mixture, GammaMixture), _COUNTS),
    "exponential": ModelEntry(partial(_mixture, ExponentialMixture), _COUNTS),
    "poisson": ModelEntry(partial(_mixture, PoissonMixture), _COUNTS),
    "negative-binomial": ModelEntry(partial(_mixture, NegativeBinomialMixture), _COUNTS),
    "multinomial": ModelEntry(partial(_mixture, MultinomialMixture), _COUNTS, missing=False),
    "bernoulli": ModelEntry(partial(_mixture, BernoulliMixture), _COUNTS),
    "categorical": ModelEntry(_categorical, _COUNTS, categories=True),
    "mixed": ModelEntry(_mixed, _DENSITIES | {"kinds"}, categories=True),
    "kmeans": ModelEntry(_kmeans, frozenset({"components"}), missing=False),
    "ppca": ModelEntry(_ppca, frozenset({"latent"}), missing=False),
    "linear-vae": ModelEntry(_linear_vae, frozenset({"latent"}), **_NETWORKS),
    "vae": ModelEntry(_vae, frozenset({"latent", "hidden", "variance_floor"}), categories=True, **_NETWORKS),
}
PRIORS: dict[str, str | None] = {"none": None, "weak": "weak"}


def model_options(
    components: int | None,
    covariance: str | None,
    prior: str,
    latent: int | None,
    hidden: str | None,
    variance_floor: float | None,
    kinds: str | None = None,
) -> ModelOptions:
    """The options as the commands get them. Raises ValueError for an unknown prior or covariance, and for sizes that
    are no numbers."""
    if covariance is not None:
        look_up(covariance, SHAPES, "--covariance")
    sizes = None
    if hidden is not None:
        try:
            sizes = tuple(int(size) for size in hidden.split(","))
        except ValueError:
            raise ValueError(f"--hidden is {hidden!r}, expected sizes of layers such as 200,200") from None
    prior_or_none = look_up(prior, PRIORS, "--prior")
    return ModelOptions(components, covariance, prior_or_none, latent, sizes, variance_floor, parse_kinds(kinds))


def build_model(name: str, rows: Rows, options: ModelOptions, device: str | None) -> Any:
    """The model of that name, not yet fitted; a model with a network on the device."""
    model = MODELS[name].build(rows, options)
    if device is None or MODELS[name].batch_size is None:
        return model
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch was built without this device, or the machine has none
        raise ValueError(f"--device is {device!r}, expected one that torch has here: {error}") from error


def require_model_options(models: Sequence[str], options: Any) -> None:
    """Raise ValueError for an option that none of the models reads; its name is a field of `ModelOptions`."""
    for name, value in vars(options).items():
        if value is None or any(name in MODELS[model].options for model in models):
            continue
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, dict):
            value = tuple(f"{column}={kind}" for column, kind in value.items())
        given = ",".join(map(str, value)) if isinstance(value, tuple) else value
        able = join_with_or(model for model, entry in MODELS.items() if name in entry.options)
        raise ValueError(f"{option} is {given!r}, but --model {','.join(models)} has none, expected --model {able}")

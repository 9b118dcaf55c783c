"""The engines that `--engine` and `--engines` accept. A new engine is one line in `ENGINES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...models import BayesianMixture, KMeans, Mixture
from ..engines.contract import Engine
from ..engines.em import EM
from ..engines.nuts import NUTS
from ..engines.svi import SVI
from .models_by_name import MODELS
from .name_options import join_with_or


@dataclass(frozen=True)
class EngineOptions:
    """The options of the command line that belong to the engines; None for an option that was not given."""

    batch_size: int | None = None
    learning_rate: float | None = None


def _em(options: EngineOptions = EngineOptions()) -> Engine:
    return EM()


def _svi(elbo: Any, options: EngineOptions = EngineOptions()) -> Engine:
    return SVI(elbo=elbo, batch_size=options.batch_size, learning_rate=options.learning_rate)


def _nuts(options: EngineOptions = EngineOptions()) -> Engine:
    return NUTS()


BAYESIAN = ("vb", "vb-svi", "nuts")  # these engines fit a posterior over the parameters
ENGINES: dict[str, Callable[..., Engine]] = {
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


def require_engine_options(
    models: Sequence[str], engines: Sequence[str], options: EngineOptions, device: str | None
) -> None:
    """Raise ValueError for an option of gradient steps that no engine takes, and for a device without a network."""
    for name, value in vars(options).items():
        if value is not None and not any("svi" in engine for engine in engines):
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} is {value!r}, but {', '.join(engines)} takes no gradient steps: add svi")
    if device is not None and not any(MODELS[model].batch_size for model in models):
        able = join_with_or(name for name, entry in MODELS.items() if entry.batch_size)
        raise ValueError(f"--device is {device!r}, but --model {','.join(models)} has no network: use {able}")


def model_for_engine(model: Any, name: str, engine: str) -> Any:
    """The model that this engine fits: a `BayesianMixture` of the same family for the engines in `BAYESIAN`."""
    if engine not in BAYESIAN:
        return model
    if not isinstance(model, Mixture) or isinstance(model, KMeans):
        raise ValueError(
            f"{engine} fits a posterior over the parameters of a mixture, but --model {name} is no mixture with "
            "parameters that have a prior: use another engine, such as em"
        )
    try:
        return BayesianMixture(model.family)
    except TypeError as error:
        raise ValueError(
            f"{engine} needs a conjugate prior, which --model {name} does not have: use another engine, such as em"
        ) from error

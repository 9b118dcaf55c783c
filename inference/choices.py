"""What can be asked for by name: models, engines and priors. A new one is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Choices:
    """What the options say of a model."""

    components: int
    covariance: str
    prior: str | None


def _gaussian(rows: Any, choices: Choices) -> Any:
    from ..models import GaussianMixture

    return GaussianMixture(choices.components, rows.features, choices.covariance, choices.prior)


def _em() -> Any:
    from .em import EM

    return EM()


def _svi(elbo: Any) -> Any:
    from .svi import SVI

    return SVI(elbo=elbo)


MODELS: dict[str, Callable[[Any, Choices], Any]] = {"gaussian": _gaussian}
ENGINES: dict[str, Callable[[], Any]] = {
    "em": _em,
    "svi": partial(_svi, "sampled"),
    "svi-sampled": partial(_svi, "sampled"),
    "svi-enumerated": partial(_svi, "enumerated"),
    "svi-exact": partial(_svi, "exact"),
}
PRIORS: dict[str, str | None] = {"none": None, "weak": "weak"}


def build(data: str, model: str, components: int, covariance: str, prior: str) -> tuple[Any, Any]:
    """The rows, and the model of the options, not fitted yet."""
    make = pick(model, MODELS, "--model")
    choices = Choices(components, covariance, pick(prior, PRIORS, "--prior"))

    from ..models import Rows
    from .read import read

    rows = Rows(read(data))
    return rows, make(rows, choices)


def pick(name: str, table: Mapping[str, Any], option: str) -> Any:
    """The entry of a name. Raises ValueError with the names there are."""
    if name not in table:
        raise ValueError(f"{option} is {name!r}, expected one of {', '.join(table)}")
    return table[name]

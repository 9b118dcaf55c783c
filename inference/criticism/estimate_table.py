"""What standard errors and bootstrap share: the table of estimates and intervals, and checks of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from torch import Tensor

from ...models import SupportsPosterior

Of = Mapping[str, Callable[[Any], Tensor]] | None  # functions of the model, by name


def estimate_table(parts: dict[str, tuple[Tensor, ...]], shown: dict[str, Bool[Tensor, "..."]]) -> pd.DataFrame:
    """A table of estimate, standard_error, lower and upper, with one row for each number that is shown."""
    names, cells = [], []
    for name, columns in parts.items():
        for index in np.ndindex(*columns[0].shape):
            if shown[name][index]:
                names.append(f"{name}[{', '.join(map(str, index))}]" if index else name)
                cells.append([float(column[index]) for column in columns])
    header = ["estimate", "standard_error", "lower", "upper"]
    return pd.DataFrame(cells, index=pd.Index(names, name="parameter"), columns=header)


def require_estimates(model: Any) -> None:
    """Raise TypeError for a model with a posterior over its parameters, which has no sampling distribution."""
    if isinstance(model, SupportsPosterior):
        raise TypeError(
            f"{type(model).__name__} has a posterior over its parameters, expected estimates, as of a Mixture: their "
            "uncertainty is the spread of fit.model.draw(4000)"
        )


def require_level(level: float) -> None:
    """Raise ValueError unless `level` is a probability between 0 and 1."""
    if isinstance(level, bool) or not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"level is {level!r}, expected a probability such as 0.95")


def require_known(name: str, values: Mapping[str, Tensor]) -> Tensor:
    """The value of this name. Raises ValueError, listing the names, if there is none."""
    if name not in values:
        raise ValueError(f"there is no parameter {name!r}, expected one of {', '.join(map(repr, values))}")
    return values[name]

"""Components of which a maximum of the likelihood may be spurious: on few rows, or thin beside the others."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..families.family import Family

THIN = 1e-5  # of the smallest eigenvalue, relative to the average component; a collapse is below 1e-10


def doubtful_components(family: Family, weights: Float[Tensor, " k"], rows: float | None) -> list[str]:
    """One sentence for each component that rests on few rows, or is thin beside the others.

    Weights name the components: their numbers differ between the model and the tables of a report.

    Args:
        family: The components.
        weights: (k,) their weights.
        rows: The total weight of the rows of the fit; None if the weights do not say how many rows a component holds.
    """
    least, k = 2 * family.least_rows, len(weights)
    if not least or k == 1:
        return []
    thin, found = family.thinness(weights), []
    for j in range(k):
        held = float("inf") if rows is None else float(weights[j]) * rows
        if held < least - 0.5:  # not what is as many to the next whole row
            found.append(
                f"a component of weight {float(weights[j]):.3g} rests on about {held:.3g} rows, fewer than {least}"
            )
        elif thin[j] < THIN:
            found.append(
                f"a component of weight {float(weights[j]):.3g} is thin: its smallest variance is {float(thin[j]):.1g} "
                "of that of the average component"
            )
    return found

"""Components of which a maximum of the likelihood may be spurious: on few rows, or thin beside the others."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..families.family import Family

LEAST = 4  # rows: twice those that a location and the rows' distance from it take, whatever the family
THIN = 1e-5  # of the smallest eigenvalue, relative to the average component; a collapse is below 1e-10


def doubtful_components(family: Family, weights: Float[Tensor, " k"], rows: float | None) -> list[str]:
    """One sentence for each component that rests on few rows, or is thin beside the others.

    Weights name the components: their numbers differ between the model and the tables of a report.

    Args:
        family: The components.
        weights: (k,) their weights.
        rows: How many rows the fit had; None if the weights do not say how many of them a component holds.
    """
    k = len(weights)
    if k == 1 or family.has_prior or not any(parameter.requires_grad for parameter in family.parameters()):
        return []
    can_shrink = family.least_rows > 0
    least = max(LEAST, 2 * family.least_rows)
    thin, found = family.thinness(weights), []
    for j in range(k):
        held = float("inf") if rows is None else float(weights[j]) * rows
        if held < least - 0.5:  # not what is as many to the next whole row
            found.append(
                f"a component of weight {float(weights[j]):.3g} rests on about {held:.3g} rows, fewer than {least}"
            )
        elif can_shrink and thin[j] < THIN:
            found.append(
                f"a component of weight {float(weights[j]):.3g} is thin: its smallest variance is {float(thin[j]):.1g} "
                "of that of the average component"
            )
    return found

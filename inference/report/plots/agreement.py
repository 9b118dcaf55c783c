"""Whether the fits of a comparison find the same components, in the words of all titles."""

from __future__ import annotations

import numpy as np

from ...criticism.comparison import Comparison
from ...criticism.distances_between_fits import largest_distance

SAME = 0.05  # fits with a smaller parameter distance find the same components
NEAR = 0.25  # fits with a smaller parameter distance find nearly the same components
AGREE = 1e-3  # nats: fits with a smaller mean posterior KL put the rows in the same components


def agreement(comparison: Comparison) -> str | None:
    """Whether they are "the same", "nearly the same" or "different"; None where no distance between fits is known."""
    distance = largest_distance(comparison, "parameter_distance")
    if largest_distance(comparison, "posterior_kl") < AGREE:  # a parameter may go to infinity, and the fits still agree
        distance = min(distance, 0.0)
    if np.isnan(distance):
        return None
    return "the same" if distance < SAME else "nearly the same" if distance < NEAR else "different"

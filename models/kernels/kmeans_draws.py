"""Greedy k-means++ by the compiled kernel: one start."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def draw_centres(
    x: Float[Tensor, "n d"],
    weights: Float[Tensor, " n"] | None,
    components: int,
    tries: int,
    generator: torch.Generator,
    known: dict[int, Float[Tensor, " d"]] | None = None,
) -> Float[Tensor, "k d"] | None:
    """k centres among the rows of x, with the random numbers that torch.multinomial would take for the same draws.

    Args:
        x: (n, d) rows in float64 on the CPU.
        weights: (n,) row weights, or None for ones.
        components: k, the number of centres.
        tries: How many candidates there are for each centre.
        generator: What they are drawn from. It is as before if None is returned.
        known: Centres that are given, (d,) each, by the number of their component.

    Returns:
        The centres; None if a centre has no row left at a distance from the others.
    """
    from .compiled.kmeans_start import draw_centres as draw  # here: numba is slow to import

    before = generator.get_state()
    columns = x.T.contiguous().numpy()
    mass = np.empty(0) if weights is None else weights.contiguous().numpy()
    centres, given = np.empty((components, x.shape[1])), np.zeros(components, np.bool_)
    for j, centre in (known or {}).items():
        centres[j], given[j] = centre.numpy(), True
    if not given.any():
        first = torch.ones(len(x), dtype=x.dtype) if weights is None else weights
        centres[0], given[0] = x[int(torch.multinomial(first, 1, generator=generator))].numpy(), True
    left = components - int(given.sum())
    uniforms = torch.rand(left, tries, generator=generator, dtype=torch.float64)
    if draw(columns, mass, centres, given, uniforms.numpy()) < 0:
        return torch.from_numpy(centres)
    generator.set_state(before)
    return None

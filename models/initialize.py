"""Where a mixture starts: k-means++ seeds, softened responsibilities, and one M-step from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from .base import LatentModel
from .rows import Rows

Model = TypeVar("Model", bound=LatentModel)


def seed(model: Model, x: Any, seed: int = 0, weights: Any = None) -> Model:
    """Draw starting parameters of `model` from the data, in place, and return it.

    x: (n, d) as `fit` takes it; weights: (n,) or None. What `fit` does first, for those who write their own loop.
    """
    model.initialize(x, weights, torch.Generator().manual_seed(seed))
    return model


def kmeans_plus_plus(
    x: Float[Tensor, "n d"],
    weights: Float[Tensor, " n"] | None,
    components: int,
    generator: torch.Generator,
    known: dict[int, Float[Tensor, " d"]] | None = None,
) -> Float[Tensor, "k d"]:
    """k centres: rows of x, each next one drawn with probability proportional to weight times squared distance to the
    nearest so far. Of 2 + log k candidates at a time the one that leaves the smallest distortion is kept, as
    scikit-learn does. `known` centres stand from the beginning, each under the number of its component.

    Arthur & Vassilvitskii, SODA 2007. Raises ValueError if x has fewer than k distinct rows of positive weight.
    """
    mass = torch.ones(len(x), dtype=x.dtype) if weights is None else weights
    centres = dict(known or {})
    if not centres:
        centres[0] = x[torch.multinomial(mass, 1, generator=generator)[0]]
    squared = _squared_distances(x, torch.stack(list(centres.values()))).amin(0)
    for component in range(components):
        if component in centres:
            continue
        share = squared * mass
        if not (share > 0).any():
            distinct = len(torch.unique(x[mass > 0], dim=0))  # of known centres some may be the same
            raise ValueError(
                f"the data have {distinct} distinct rows (of positive weight), expected at least one for each of "
                f"{components} components: use fewer components"
            )
        candidates = x[
            torch.multinomial(share / share.max(), 2 + int(math.log(components)), replacement=True, generator=generator)
        ]
        nearest = torch.minimum(squared, _squared_distances(x, candidates))  # (candidates, n)
        best = int((nearest @ mass).argmin())
        centres[component], squared = candidates[best], nearest[best]
    return torch.stack([centres[component] for component in range(components)])


def _squared_distances(x: Float[Tensor, "n d"], centres: Float[Tensor, "m d"]) -> Float[Tensor, "m n"]:
    return torch.stack([(x - centre).square().sum(-1) for centre in centres])


@dataclass(frozen=True)
class Start:
    """Rows x (n, d), their responsibilities (n, k), row weights included, and where the components are (k, d)."""

    x: Float[Tensor, "n d"]
    responsibilities: Float[Tensor, "n k"]
    places: Float[Tensor, "k d"]


def draw_start(
    rows: Rows,
    components: int,
    generator: torch.Generator,
    coordinates: Callable[[Tensor], Tensor],
    softness: float,
    places: Float[Tensor, "k d"] | None = None,
) -> Start:
    """k-means++ on a sample where there are many rows, and the softened responsibilities of its centres. Rows with a
    known label belong to it alone, and their mean is its centre.

    coordinates: where rows (n, d) lie for this, (n, c); softness: the share of each row spread evenly over all; places:
    (k, d) where the components are, if that is known: these are the centres then.
    """
    sample = rows.sample(generator)
    mass = torch.ones(len(sample.x), dtype=torch.float64) if sample.weights is None else sample.weights
    y = coordinates(sample.x)
    labels = torch.full((len(y),), -1) if sample.labels is None else sample.labels
    known = {
        int(j): mass[labels == j] @ y[labels == j] / mass[labels == j].sum()
        for j in labels[mass > 0].unique()
        if j >= 0
    }
    drawn = places is None
    centres = kmeans_plus_plus(y, sample.weights, components, generator, known) if drawn else coordinates(places)
    responsibilities = softened(y, centres, softness)
    nearest = torch.nn.functional.one_hot(responsibilities.argmax(1), components).to(y.dtype) * mass.unsqueeze(1)
    size = nearest.sum(0).unsqueeze(1)
    whole = (mass @ sample.x / mass.sum()).expand(components, -1)  # a known centre may have no row of its own
    if places is None:
        places = torch.where(size > 0, nearest.T @ sample.x / size.clamp(min=1e-300), whole)
    responsibilities[labels >= 0] = torch.nn.functional.one_hot(labels[labels >= 0], components).to(y.dtype)
    responsibilities *= mass.unsqueeze(1)
    responsibilities *= rows.total_weight / responsibilities.sum()  # the sample stands for all rows
    return Start(sample.x, responsibilities, places)


def softened(x: Float[Tensor, "n d"], centres: Float[Tensor, "k d"], softness: float) -> Float[Tensor, "n k"]:
    """Responsibilities of the nearest centre, a share of each row spread evenly over all: (1 - s) r + s / k."""
    nearest = _squared_distances(x, centres).argmin(0)
    one_hot = torch.nn.functional.one_hot(nearest, len(centres)).to(x.dtype)
    return (1 - softness) * one_hot + softness / len(centres)

"""Where a mixture starts: k-means++ seeds, softened responsibilities, and one M-step from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from .base import LatentModel
from .rows import Rows

Model = TypeVar("Model", bound=LatentModel)

SOFTNESS = 0.1  # the share of each row spread evenly over all components: leaves starts fewer ways to be singular


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
            raise ValueError(
                f"the data have {len(centres)} distinct rows (of positive weight), expected at least one for each of "
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
    """Rows x (n, d), their responsibilities (n, k), row weights included, and the centres (k, d) they come from."""

    x: Float[Tensor, "n d"]
    responsibilities: Float[Tensor, "n k"]
    centres: Float[Tensor, "k d"]


def draw_start(rows: Rows, components: int, generator: torch.Generator) -> Start:
    """k-means++ in units of the columns' spread, on a sample where there are many rows, and the softened
    responsibilities of its centres. Rows with a known label belong to it alone, and their mean is its centre."""
    moments = rows.moments  # before the sample: it reads all rows in order, and so can say which one is bad
    sample = rows.sample(generator)
    spread = moments.covariance.diagonal().sqrt()
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    y = (sample.x - moments.mean) / spread
    labels = torch.full((len(y),), -1) if sample.labels is None else sample.labels
    mass = torch.ones(len(y), dtype=y.dtype) if sample.weights is None else sample.weights
    known = {
        int(j): mass[labels == j] @ y[labels == j] / mass[labels == j].sum()
        for j in labels[mass > 0].unique()
        if j >= 0
    }
    centres = kmeans_plus_plus(y, sample.weights, components, generator, known)
    responsibilities = softened(y, centres)
    responsibilities[labels >= 0] = torch.nn.functional.one_hot(labels[labels >= 0], components).to(y.dtype)
    if sample.weights is not None:
        responsibilities *= sample.weights[:, None]
    responsibilities *= rows.total_weight / responsibilities.sum()  # the sample stands for all rows
    return Start(sample.x, responsibilities, moments.mean + spread * centres)


def softened(x: Float[Tensor, "n d"], centres: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    """Responsibilities of the nearest centre, a tenth of each row spread evenly over all: 0.9 r + 0.1 / k."""
    nearest = _squared_distances(x, centres).argmin(0)
    one_hot = torch.nn.functional.one_hot(nearest, len(centres)).to(x.dtype)
    return (1 - SOFTNESS) * one_hot + SOFTNESS / len(centres)

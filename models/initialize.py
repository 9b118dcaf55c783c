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
    x: Float[Tensor, "n d"], weights: Float[Tensor, " n"] | None, components: int, generator: torch.Generator
) -> Float[Tensor, "k d"]:
    """k rows of x, each next one drawn with probability proportional to weight times squared distance to the nearest.

    Of 2 + log k candidates at a time the one that leaves the smallest distortion is kept, as scikit-learn does.
    Arthur & Vassilvitskii, SODA 2007. Raises ValueError if x has fewer than k distinct rows of positive weight.
    """
    mass = torch.ones(len(x), dtype=x.dtype) if weights is None else weights
    first = int(torch.multinomial(mass, 1, generator=generator))
    chosen = [first]
    squared = (x - x[first]).square().sum(-1)
    for _ in range(1, components):
        share = squared * mass
        if not (share > 0).any():
            raise ValueError(
                f"the data have {len(chosen)} distinct rows (of positive weight), expected at least one for each of "
                f"{components} components: use fewer components"
            )
        candidates = torch.multinomial(
            share / share.max(), 2 + int(math.log(components)), replacement=True, generator=generator
        )
        distances = torch.stack([(x - x[c]).square().sum(-1) for c in candidates])
        nearest = torch.minimum(squared, distances)  # (candidates, n)
        best = int((nearest @ mass).argmin())
        chosen.append(int(candidates[best]))
        squared = nearest[best]
    return x[chosen]


@dataclass(frozen=True)
class Start:
    """Rows x (n, d), their responsibilities (n, k), row weights included, and the centres (k, d) they come from."""

    x: Float[Tensor, "n d"]
    responsibilities: Float[Tensor, "n k"]
    centres: Float[Tensor, "k d"]


def draw_start(rows: Rows, components: int, generator: torch.Generator) -> Start:
    """k-means++ in units of the columns' spread, on a sample where there are many rows, and the softened
    responsibilities of its centres; rows with a known label belong to it alone."""
    moments = rows.moments  # before the sample: it reads all rows in order, and so can say which one is bad
    sample = rows.sample(generator)
    spread = moments.covariance.diagonal().sqrt()
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    y = (sample.x - moments.mean) / spread
    centres = kmeans_plus_plus(y, sample.weights, components, generator)
    responsibilities = softened(y, centres)
    if sample.labels is not None:
        known = sample.labels >= 0
        responsibilities[known] = torch.nn.functional.one_hot(sample.labels[known], components).to(y.dtype)
    if sample.weights is not None:
        responsibilities *= sample.weights[:, None]
    responsibilities *= rows.total_weight / responsibilities.sum()  # the sample stands for all rows
    return Start(sample.x, responsibilities, moments.mean + spread * centres)


def softened(x: Float[Tensor, "n d"], centres: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    """Responsibilities of the nearest centre, a tenth of each row spread evenly over all: 0.9 r + 0.1 / k."""
    squared = torch.stack([(x - centre).square().sum(-1) for centre in centres], -1)
    one_hot = torch.nn.functional.one_hot(squared.argmin(-1), len(centres)).to(x.dtype)
    return (1 - SOFTNESS) * one_hot + SOFTNESS / len(centres)

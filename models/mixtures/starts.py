"""Where a mixture starts: k-means++ seeds, softened responsibilities, and one M-step from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ...data.rows import Rows
from ..contract import LatentModel
from .hot_deck import donated

DISTANCES = 1 << 20  # rows times centres whose distances are held at a time

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
    generators: Sequence[torch.Generator],
    known: dict[int, Float[Tensor, " d"]] | None = None,
) -> Float[Tensor, "starts k d"]:
    """k centres for each generator: rows of x, each next one drawn with probability proportional to weight times
    squared distance to the nearest so far. Of 2 + log k candidates at a time the one that leaves the smallest
    distortion is kept, as scikit-learn does. `known` centres stand from the beginning, each under the number of its
    component.

    Arthur & Vassilvitskii, SODA 2007. Raises ValueError if x has fewer than k distinct rows of positive weight.
    """
    tries = 2 + int(math.log(components))
    size = max(1, DISTANCES // (tries * len(x)))  # starts at a time
    if len(generators) > size:
        parts = [generators[i : i + size] for i in range(0, len(generators), size)]
        return torch.cat([kmeans_plus_plus(x, weights, components, part, known) for part in parts])
    mass = torch.ones(len(x), dtype=x.dtype) if weights is None else weights
    centres = {j: centre.expand(len(generators), -1) for j, centre in (known or {}).items()}
    if not centres:
        centres[0] = x[torch.cat([torch.multinomial(mass, 1, generator=g) for g in generators])]
    nearest = torch.stack([_squared_distances(x, centre) for centre in centres.values()]).amin(0)  # (starts, n)
    for component in range(components):
        if component in centres:
            continue
        share = nearest * mass
        most = share.amax(1, keepdim=True)
        if not (most > 0).all():
            distinct = len(torch.unique(x[mass > 0], dim=0))  # of known centres some may be the same
            if distinct >= components and not known:
                raise ValueError(
                    "the rows are so near to each other, or some weigh so little beside others, that their squared "
                    "distances are below the range of floating-point numbers: rescale the data to another unit"
                )
            raise ValueError(
                f"the data have {distinct} distinct rows (of positive weight), expected at least one for each of "
                f"{components} components: use fewer components"
            )
        drawn = [
            torch.multinomial(own, tries, replacement=True, generator=g)
            for own, g in zip(share / most, generators, strict=True)
        ]
        candidates = x[torch.cat(drawn)]
        left = torch.minimum(nearest.unsqueeze(1), _squared_distances(x, candidates).unflatten(0, (-1, tries)))
        best = torch.arange(len(generators)), (left @ mass).min(1).indices
        centres[component], nearest = candidates.unflatten(0, (-1, tries))[best], left[best]
    return torch.stack([centres[component] for component in range(components)], 1)


def _squared_distances(x: Float[Tensor, "n d"], centres: Float[Tensor, "m d"]) -> Float[Tensor, "m n"]:
    # not by a product: far from zero it would lose the digits of small distances
    return torch.cdist(centres, x, compute_mode="donot_use_mm_for_euclid_dist").square_()


@dataclass(frozen=True)
class Start:
    """Rows x (n, d), their responsibilities (n, k), row weights included, and where the components are (k, d). Several
    starts of the same rows lie side by side."""

    x: Float[Tensor, "n d"]
    responsibilities: Float[Tensor, "n k"]
    locations: Float[Tensor, "k d"]


def draw_start(
    rows: Rows,
    components: int,
    generators: Sequence[torch.Generator],
    coordinates: Callable[[Tensor], Tensor],
    softness: float,
    locations: Float[Tensor, "k d"] | None = None,
) -> Start:
    """k-means++ on a sample where there are many rows, and the softened responsibilities of its centres. Rows with a
    known label belong to it alone, and their mean is its centre. Missing cells are filled for the start only.

    generators: one for each start; several are for tables that need no sample. coordinates: where rows (n, d) lie for
    this, (n, c); softness: the share of each row spread evenly over all; locations: (k, d) where the components are, if
    that is known: these are the centres then.
    """
    sample = rows.sample(generators[0])
    mass = torch.ones(len(sample.x), dtype=torch.float64) if sample.weights is None else sample.weights
    x, y = sample.x, coordinates(sample.x)
    gone = y.isnan()
    if gone.any():  # in the middle of what is seen
        y = torch.where(gone, torch.where(gone, 0.0, y).sum(0) / (~gone).sum(0).clamp(min=1), y)
    labels = torch.full((len(y),), -1) if sample.labels is None else sample.labels
    known = {
        int(j): mass[labels == j] @ y[labels == j] / mass[labels == j].sum()
        for j in labels[mass > 0].unique()
        if j >= 0
    }
    if locations is None:
        centres = kmeans_plus_plus(y, sample.weights, components, generators, known)
    else:
        centres = coordinates(locations).unsqueeze(0)
    responsibilities = softened(y, centres, softness)  # (starts, n, k)
    if gone.any():
        x = donated(x, responsibilities[0].argmax(1), mass, generators[0])
    nearest = torch.nn.functional.one_hot(responsibilities.max(-1).indices, components).to(y.dtype) * mass.unsqueeze(1)
    size = nearest.sum(1).reshape(-1, 1)
    whole = mass @ x / mass.sum()  # a known centre may have no row of its own
    if locations is None:
        locations = torch.where(size > 0, _side_by_side(nearest).T @ x / size.clamp(min=1e-300), whole)
    responsibilities[:, labels >= 0] = torch.nn.functional.one_hot(labels[labels >= 0], components).to(y.dtype)
    responsibilities *= mass.unsqueeze(1)
    # the sample stands for all rows
    responsibilities *= rows.total_weight / responsibilities.sum((1, 2), keepdim=True)
    return Start(x, _side_by_side(responsibilities), locations)


def _side_by_side(values: Float[Tensor, "starts n k"]) -> Float[Tensor, "n members"]:
    return values.transpose(0, 1).flatten(1)


def softened(
    x: Float[Tensor, "n d"], centres: Float[Tensor, "*starts k d"], softness: float
) -> Float[Tensor, "*starts n k"]:
    """Responsibilities of the nearest centre, a share of each row spread evenly over all: (1 - s) r + s / k."""
    k = centres.shape[-2]
    nearest = _squared_distances(x, centres.flatten(0, -2)).unflatten(0, centres.shape[:-1]).min(-2).indices
    one_hot = torch.nn.functional.one_hot(nearest, k).to(x.dtype)
    return (1 - softness) * one_hot + softness / k

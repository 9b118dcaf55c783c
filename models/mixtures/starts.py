"""The start of a mixture: k-means++ centres, and the soft responsibilities of the first M-step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...data.input_checks import counted
from ...data.rows import Rows, as_rows
from ...data.seeds import require_seed
from ..abilities import takes_missing
from ..contract import LatentModel, TooFewDistinctRows
from ..far_values import far_values_named
from ..kernels.kmeans_draws import draw_centres
from ..kernels.parallel_rows import can_compile
from .fill_from_donors import fill_from_cluster
from .robust_start import centres_with_rows, spread_of, within_fences

MAX_DISTANCES = 1 << 20  # n times centres, the distances that are in memory at a time

Model = TypeVar("Model", bound=LatentModel)


def seed(model: Model, x: Any, seed: int = 0, weights: Any = None) -> Model:
    """Draw starting parameters of a model from the data, in place. This is what `fit` does first.

    Use it before your own training loop.

    Args:
        model: Any latent variable model. Its frozen parameters stay.
        x: (n, d) rows, as `fit` takes them.
        seed: The same seed gives the same parameters.
        weights: (n,) row weights, or None for ones.

    Returns:
        The model itself.

    Raises:
        ValueError: x does not fit the model, such as another number of columns or fewer rows than components; or the
            seed is no whole number from 0 to 2^63 - 1.

    Example:
        >>> from lowerbound.models import PoissonMixture, seed
        >>> x = [[0.0], [1.0], [2.0], [40.0], [44.0]]
        >>> model = seed(PoissonMixture(components=2, features=1), x)
        >>> model.family.is_set, tuple(model.family.rate.shape)
        (True, (2, 1))
    """
    rows = as_rows(x, weights) if isinstance(x, Rows) else Rows(x, weights, missing=takes_missing(model))
    with far_values_named(rows):
        model.initialize(rows, None, torch.Generator().manual_seed(require_seed(seed)))
    return model


def kmeans_plus_plus(
    x: Float[Tensor, "n d"],
    weights: Float[Tensor, " n"] | None,
    components: int,
    generators: Sequence[torch.Generator],
    known: dict[int, Float[Tensor, " d"]] | None = None,
    spare: bool = False,
) -> Float[Tensor, "starts k d"]:
    """k centres among the rows of x for each generator, by greedy k-means++.

    The first centre is drawn by weight. Each further one is drawn with probability proportional to weight times squared
    distance to the nearest centre so far. Of 2 + log k candidates, the one that leaves the smallest distortion is kept,
    as in scikit-learn.

    Args:
        x: (n, d) rows, without missing values.
        weights: (n,) row weights, or None for ones.
        components: k, the number of centres.
        generators: One for each start.
        known: Centres that are given, (d,) each, by the number of their component. The others are drawn.
        spare: Whether there may be more components than distinct rows. Some centres are then equal.

    Raises:
        ValueError: x has fewer than k distinct rows of positive weight (unless spare=True), or their squared distances
            underflow.

    References:
        Arthur and Vassilvitskii, SODA 2007, 1027-1035.
    """
    tries = 2 + int(math.log(components))
    if can_compile(x) and x.dtype == torch.float64 and not spare:
        drawn = [draw_centres(x, weights, components, tries, generator, known) for generator in generators]
        if all(centres is not None for centres in drawn):
            return torch.stack(drawn)  # type: ignore[arg-type]
    size = max(1, MAX_DISTANCES // (tries * len(x)))  # the number of starts drawn at a time
    if len(generators) > size:
        parts = [generators[i : i + size] for i in range(0, len(generators), size)]
        return torch.cat([kmeans_plus_plus(x, weights, components, part, known, spare) for part in parts])
    mass = torch.ones(len(x), dtype=x.dtype) if weights is None else weights
    centres = {j: centre.expand(len(generators), -1) for j, centre in (known or {}).items()}
    if not centres:
        centres[0] = x[torch.cat([torch.multinomial(mass, 1, generator=g) for g in generators])]
    nearest = torch.stack([_squared_distances(x, centre) for centre in centres.values()]).amin(0)  # (starts, n)
    for component in range(components):
        if component in centres:
            continue
        probability = nearest * mass  # not normalized
        largest = probability.amax(1, keepdim=True)
        if not (largest > 0).all():
            distinct = len(torch.unique(x[mass > 0], dim=0))
            if distinct >= components and not known:  # known centres may be equal, which is no underflow
                raise TooFewDistinctRows(
                    "got rows so near to each other, or of weights so different, that squared distances times weights "
                    "underflow to 0, expected larger ones: rescale the data to another unit"
                )
            if not spare:
                raise TooFewDistinctRows(
                    f"the data have {counted(distinct, 'distinct row')} (of positive weight), expected at least one "
                    f"for each of {components} components: use fewer components, or a model with a prior"
                )
            none = largest <= 0  # each distinct row is a centre: the others are drawn by weight
            probability, largest = torch.where(none, mass, probability), torch.where(none, mass.amax(), largest)
        drawn = [
            torch.multinomial(own, tries, replacement=True, generator=g)
            for own, g in zip(probability / largest, generators, strict=True)
        ]
        candidates = x[torch.cat(drawn)]
        distances = torch.minimum(nearest.unsqueeze(1), _squared_distances(x, candidates).unflatten(0, (-1, tries)))
        best = torch.arange(len(generators)), (distances @ mass).min(1).indices
        centres[component], nearest = candidates.unflatten(0, (-1, tries))[best], distances[best]
    return torch.stack([centres[component] for component in range(components)], 1)


def known_centres(
    x: Float[Tensor, "n d"], weights: Float[Tensor, " n"] | None, labels: Int[Tensor, " n"] | None
) -> dict[int, Float[Tensor, " d"]]:
    """The mean of the rows with each label, by its number. Rows without a label (-1) have no part in it."""
    if labels is None:
        return {}
    mass = x.new_ones(len(x)) if weights is None else weights
    of = {int(j): labels == j for j in labels[mass > 0].unique() if j >= 0}
    return {j: mass[own] @ x[own] / mass[own].sum() for j, own in of.items()}


def _squared_distances(x: Float[Tensor, "n d"], centres: Float[Tensor, "m d"]) -> Float[Tensor, "m n"]:
    # not by a matrix product, which loses the digits of small distances if the rows are far from zero
    return torch.cdist(centres, x, compute_mode="donot_use_mm_for_euclid_dist").square_()


@dataclass(frozen=True)
class Start:
    """The input of the first M-step: rows (n, d), responsibilities times row weights (n, k), and locations (k, d).

    Several starts from the same rows are side by side in k: it is then starts times components.
    """

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
    spare: bool = False,
    robust: bool = False,
) -> Start:
    """Centres by k-means++, and the soft responsibilities of the rows.

    For a large table, a sample of its rows is used. A row with a label belongs to that component alone, and the mean of
    these rows is its centre. Missing values are filled in for the start only.

    Args:
        rows: The table.
        components: k, the number of components.
        generators: One for each start. With several, the table must be small enough to need no sample.
        coordinates: Maps rows (n, d) to points (n, c), whose distances k-means++ uses.
        softness: The share of each row that is spread evenly over all components.
        locations: (k, d) the locations of the components if they are known; they replace the k-means++ centres.
        spare: Whether there may be more components than distinct rows.
        robust: Whether rows far outside must not matter, as `robust_start` describes it.

    Raises:
        ValueError: Fewer distinct rows than components (unless spare=True), or a column without any value.
    """
    sample = rows.sample(generators[0])
    mass = torch.ones(len(sample.x), dtype=torch.float64) if sample.weights is None else sample.weights
    x = within_fences(sample.x, mass) if robust else sample.x
    y = coordinates(x)
    unit = y.new_ones(y.shape[1]) if x is sample.x else spread_of(y)  # that of all rows is that of the outliers
    y = y / unit
    missing = y.isnan()
    if missing.any():  # k-means++ uses the mean of the observed values
        y = torch.where(missing, torch.where(missing, 0.0, y).sum(0) / (~missing).sum(0).clamp(min=1), y)
    labels = torch.full((len(y),), -1) if sample.labels is None else sample.labels
    known = known_centres(y, mass, labels)
    if locations is not None:
        centres = (coordinates(locations) / unit).unsqueeze(0)
    elif robust:
        draws = [partial(_one_draw, y, components, generator, known, spare) for generator in generators]
        centres = torch.stack([centres_with_rows(y, mass, draw, x.shape[1] + 1, set(known)) for draw in draws])
    else:
        centres = kmeans_plus_plus(y, sample.weights, components, generators, known, spare)
    responsibilities = soft_responsibilities(y, centres, softness)  # (starts, n, k)
    if missing.any():
        x = fill_from_cluster(x, responsibilities[0].argmax(1), mass, generators[0], rows.columns)
    nearest = torch.nn.functional.one_hot(responsibilities.max(-1).indices, components).to(y.dtype) * mass.unsqueeze(1)
    size = nearest.sum(1).reshape(-1, 1)
    mean = mass @ x / mass.sum()  # for the centre of a label to which no row is nearest
    if locations is None:
        locations = torch.where(size > 0, _side_by_side(nearest).T @ x / size.clamp(min=1e-300), mean)
    responsibilities[:, labels >= 0] = torch.nn.functional.one_hot(labels[labels >= 0], components).to(y.dtype)
    responsibilities *= mass.unsqueeze(1)
    # a sample represents all rows: scale its weight up to theirs
    responsibilities *= rows.total_weight / responsibilities.sum((1, 2), keepdim=True)
    return Start(x, _side_by_side(responsibilities), locations)


def _one_draw(
    y: Tensor, components: int, generator: torch.Generator, known: dict[int, Tensor], spare: bool, weights: Tensor
) -> Float[Tensor, "k c"]:
    """The centres of one start, with these row weights."""
    return kmeans_plus_plus(y, weights, components, [generator], known, spare)[0]


def _side_by_side(values: Float[Tensor, "starts n k"]) -> Float[Tensor, "n members"]:
    return values.transpose(0, 1).flatten(1)


def soft_responsibilities(
    x: Float[Tensor, "n d"], centres: Float[Tensor, "*starts k d"], softness: float
) -> Float[Tensor, "*starts n k"]:
    """Responsibilities (1 - s) r + s / k, where r is 1 for the nearest centre and 0 for the others, and s: softness."""
    k = centres.shape[-2]
    nearest = _squared_distances(x, centres.flatten(0, -2)).unflatten(0, centres.shape[:-1]).min(-2).indices
    one_hot = torch.nn.functional.one_hot(nearest, k).to(x.dtype)
    return (1 - softness) * one_hot + softness / k

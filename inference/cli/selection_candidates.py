"""The candidates of `lowerbound select`: one for each model, covariance and size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ...models.kernels.covariance_shapes import SHAPES
from .models_by_name import MODELS, ModelOptions
from .name_options import split_names

RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
MOST_SIZES = 200  # candidates of one kind
COMPONENTS, LATENTS = (1, 2, 3, 4, 5), (1, 2, 3)  # by default


@dataclass(frozen=True)
class CandidateOptions:
    """The options of `lowerbound select`, several values each; None for an option that was not given."""

    components: tuple[int, ...] | None
    covariance: str | None
    latent: tuple[int, ...] | None
    prior: str | None
    kinds: Any = None


def parse_counts(text: str | None, option: str) -> tuple[int, ...] | None:
    """The numbers in a text such as 1-5 or 2,3,8. Raises ValueError unless all are at least 1 and differ."""
    if text is None:
        return None
    parts = [RANGE.fullmatch(part.strip()) for part in text.split(",")]
    ranges = [(int(part[1]), int(part[2] or part[1])) for part in parts if part]
    if len(ranges) < len(parts) or any(not 1 <= first <= last for first, last in ranges):
        raise ValueError(f"{option} is {text!r}, expected numbers such as 1-5 or 2,3,8")
    if sum(last - first + 1 for first, last in ranges) > MOST_SIZES:
        raise ValueError(f"{option} is {text!r}, expected at most {MOST_SIZES} numbers, such as 1-5 or 2,3,8")
    found = [number for first, last in ranges for number in range(first, last + 1)]
    if len(set(found)) < len(found):
        raise ValueError(f"{option} is {text!r}, expected each number once")
    return tuple(found)


def candidate_options(
    model: str, options: CandidateOptions, features: int, several: bool, has_covariance: bool
) -> dict[str, ModelOptions]:
    """The options of each candidate by its name, such as "full, K=2"; with several models, "gaussian, full, K=2".

    has_covariance: whether the model has a covariance on this table. Raises ValueError if one is given for nothing.
    """
    accepted = MODELS[model].options
    prior = options.prior if "prior" in accepted else None
    prefix = [model] if several else []
    if "components" not in accepted:
        sizes = options.latent or [q for q in LATENTS if q < features] or [1]
        return {", ".join([*prefix, f"latent {q}"]): ModelOptions(latent=q) for q in sizes}
    shapes = [None]
    if "covariance" in accepted and not has_covariance and options.covariance is not None and not several:
        raise ValueError(
            f"--covariance is {options.covariance!r}, but --model {model} takes no column of this table for Gaussian: "
            "leave it out"
        )
    if "covariance" in accepted and has_covariance:
        shapes = ["full"] if options.covariance is None else split_names(options.covariance, SHAPES, "--covariance")
    labels = [[*prefix, shape] if shape is not None else prefix for shape in shapes]
    return {
        ", ".join([*label, f"K={k}"]): ModelOptions(
            k, shape, prior, kinds=options.kinds if "kinds" in accepted else None
        )
        for label, shape in zip(labels, shapes, strict=True)
        for k in options.components or COMPONENTS
    }

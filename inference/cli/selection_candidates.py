"""The candidates of `lowerbound select`: one for each model, covariance and size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .models_by_name import MODELS, ModelOptions

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
    found: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        found = []
    if not found or min(found) < 1 or len(set(found)) < len(found):
        raise ValueError(f"{option} is {text!r}, expected numbers such as 1-5 or 2,3,8")
    return tuple(found)


def candidate_options(model: str, options: CandidateOptions, features: int, several: bool) -> dict[str, ModelOptions]:
    """The options of each candidate by its name, such as "full, K=2"; with several models, "gaussian, full, K=2"."""
    accepted = MODELS[model].options
    prior = options.prior if "prior" in accepted else None
    prefix = [model] if several else []
    if "components" not in accepted:
        sizes = options.latent or [q for q in LATENTS if q < features] or [1]
        return {", ".join([*prefix, f"latent {q}"]): ModelOptions(latent=q) for q in sizes}
    shapes = [None]
    if "covariance" in accepted:
        shapes = [shape.strip() for shape in (options.covariance or "full").split(",")]
    labels = [[*prefix, shape] if shape is not None else prefix for shape in shapes]
    return {
        ", ".join([*label, f"K={k}"]): ModelOptions(
            k, shape, prior, kinds=options.kinds if "kinds" in accepted else None
        )
        for label, shape in zip(labels, shapes, strict=True)
        for k in options.components or COMPONENTS
    }

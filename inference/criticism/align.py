"""Undoing label switching: the K! equal maxima of a mixture, brought to one labelling."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...data.rows import as_rows
from ...models import LatentModel
from ..engines.data_bound import EVALUATION_ROWS


@torch.no_grad()
def align(a: LatentModel, b: LatentModel, x: Any) -> Int[Tensor, " k"]:
    """The permutation of b's components that agrees best with a: component j of a is component order[j] of b.

    The best of all k! by the Hungarian algorithm, judged by the rows they share: sum_i w_i q_a(j | x_i) q_b(l | x_i).
    x: (n, d) as `fit` takes it. `b.permute(order)` relabels b. Raises TypeError for latents that are not categorical
    and ValueError for different numbers of components.
    """
    rows = as_rows(x, model=a)
    shared: Any = 0.0
    for chunk in rows.chunks(EVALUATION_ROWS):
        q_a, q_b = a.posterior(chunk.x), b.posterior(chunk.x)
        for q in (q_a, q_b):
            if not isinstance(q, torch.distributions.Categorical):
                raise TypeError(f"a posterior is {type(q).__name__}, expected Categorical: only labels can be switched")
        left, right = q_a.probs, q_b.probs  # type: ignore[attr-defined]
        if left.shape != right.shape:
            raise ValueError(
                f"the models have {left.shape[-1]} and {right.shape[-1]} components, expected the same number"
            )
        shared = shared + (left if chunk.weights is None else left * chunk.weights[:, None]).T @ right
    return torch.as_tensor(linear_sum_assignment(shared.numpy(), maximize=True)[1])

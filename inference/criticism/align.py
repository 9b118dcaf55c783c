"""`align`: match the components of two mixtures, whose labels are arbitrary (label switching)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.distributions import Categorical

from ...data.rows import as_rows
from ...models import LatentModel
from ..engines.data_bound import EVALUATION_ROWS
from ..fitting.fit_arguments import require_model


@torch.no_grad()
def align(a: LatentModel, b: LatentModel, x: Any) -> Int[Tensor, " k"]:
    """The order of b's components that agrees best with a: argmax_order sum_ij w_i q_a(j | x_i) q_b(order[j] | x_i).

    A mixture has the same likelihood under all k! permutations of its components. The Hungarian algorithm finds the
    best of them. `b.permute(order)` relabels b.

    Args:
        a: The model whose labels are kept.
        b: The model to match to it.
        x: (n, d) rows, as `fit` takes them, with their weights if they are `Rows`.

    Returns:
        (k,) order: component j of a corresponds to component order[j] of b.

    Raises:
        TypeError: `a` or `b` is not a model, such as a fit, or its latent variable is not categorical.
        ValueError: The models have different numbers of components.

    Example:
        >>> import torch
        >>> from lowerbound.inference import align
        >>> from lowerbound.models import PoissonMixture
        >>> a, b = PoissonMixture(2, 1), PoissonMixture(2, 1)
        >>> a.weights = b.weights = torch.tensor([0.5, 0.5])
        >>> a.family.rate, b.family.rate = torch.tensor([[1.0], [9.0]]), torch.tensor([[8.0], [2.0]])
        >>> align(a, b, [[0.0], [2.0], [10.0]])
        tensor([1, 0])
    """
    for model in (a, b):
        require_model(model)
    from scipy.optimize import linear_sum_assignment  # here: it is slow to import

    rows = as_rows(x, model=a)
    agreement: Any = 0.0
    for chunk in rows.chunks(EVALUATION_ROWS):
        q_a, q_b = a.posterior(chunk.x), b.posterior(chunk.x)
        for q in (q_a, q_b):
            if not isinstance(q, Categorical):
                raise TypeError(f"a posterior is a {type(q).__name__}, expected a Categorical: only components match")
        left, right = q_a.probs, q_b.probs  # type: ignore[attr-defined]
        if left.shape != right.shape:
            raise ValueError(
                f"the models have {left.shape[-1]} and {right.shape[-1]} components, expected the same number"
            )
        agreement = agreement + (left if chunk.weights is None else left * chunk.weights[:, None]).T @ right
    return torch.as_tensor(linear_sum_assignment(agreement.numpy(), maximize=True)[1])

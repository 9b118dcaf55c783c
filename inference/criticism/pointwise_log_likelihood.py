"""log p(x_i | theta) of each row of a mixture at one draw of its parameters theta, z summed out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ...data.chunk import Chunk
from ...models.bayesian.parameter_sites import View
from ...models.families.missing_values import log_prob_of_rows
from ...models.mixtures.e_step import label_log_mask


@torch.no_grad()
def pointwise_log_likelihood(view: View, chunks: Sequence[Chunk]) -> Float[Tensor, " n"]:
    """w_i log p(x_i | theta) in nats; w_i log p(x_i, label_i | theta) for rows with a label."""
    family, log_weights = view
    found = []
    for chunk in chunks:
        joint = log_prob_of_rows(family, chunk.x) + log_weights
        if chunk.labels is not None:
            joint = joint + label_log_mask(chunk.labels, len(log_weights))
        each = torch.logsumexp(joint, -1)
        found.append(each if chunk.weights is None else each * chunk.weights)
    return torch.cat(found)

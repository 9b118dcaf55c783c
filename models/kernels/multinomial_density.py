"""The multinomial probability of rows with large sums, by the entropy of their shares relative to the probabilities."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...data.traced_rows import is_batched, plain_rows
from .special_functions import log1p_deficit, log_gamma_deficit

BLOCK_CELLS = 1 << 17  # of rows read at a time, so that what is computed of them fits into the processor's cache


def multinomial_log_prob(x: Float[Tensor, "n d"], log_probs: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    """log(n! product over j of p[j]^x[j] / x[j]!) of each row of counts, with n its sum, in nats.

    log n!, log x! and x log p are as large as n log n, and lose as many digits: 0.001 nats at n = 1e12. Here they are
    joined to `_divergence`, and to what is left of the factorials by Stirling's formula. That of one component, near
    the row, is summed term by term, and the others follow from it by a product of matrices, with D[k] the divergence,
    p[c] the near component and r = log p[k] - log p[c]:

        D[k] = D[c] - sum over columns of (x - n p[c]) r + n sum over columns of p[c] (exp(r) - 1 - r).

    Each sum is small where D[k] is, so that it keeps its digits.
    """
    rows = max(1, BLOCK_CELLS // x.shape[-1])
    return torch.cat([_block(part, log_probs) for part in x.split(rows)]) if len(x) > rows else _block(x, log_probs)


def _block(x: Tensor, log_probs: Tensor) -> Tensor:
    total = x.sum(-1)
    if is_batched(x) or is_batched(log_probs):  # rows cannot be sorted by what is near to them
        divergence = torch.stack([_divergence(x, total, own) for own in log_probs], -1)
    else:
        divergence = _divergences(x, total, log_probs)
    return (_excess(total) - _excess(x).sum(-1)).unsqueeze(-1) - divergence


def _divergences(x: Tensor, total: Tensor, log_probs: Tensor) -> Float[Tensor, "n k"]:
    """`_divergence` of all components."""
    never = torch.isneginf(log_probs)
    logs, probs = torch.where(never, 0.0, log_probs), log_probs.exp()
    values = plain_rows(x)
    impossible = values @ plain_rows(never).to(values).T > 0
    near = (values @ plain_rows(logs).T).masked_fill(impossible, -torch.inf).argmax(-1)
    found, order = [], []
    for c in near.unique().tolist():
        chosen = (near == c).nonzero().squeeze(-1)
        rows, n = x[chosen], total[chosen].unsqueeze(-1)
        both = ~(never | never[c])
        r = torch.where(both, logs - logs[c], 0.0)
        small = both & (r.abs() < 1)
        close = probs[c] * (torch.expm1(torch.where(small, r, 0.0)) - r)
        bend = torch.where(small, close, probs - probs[c] * torch.where(both, 1 + r, 1.0))
        own = _divergence(rows, n.squeeze(-1), log_probs[c]).unsqueeze(-1)
        found.append(own - (rows - n * probs[c]) @ r.T + n * bend.sum(-1))
        order.append(chosen)
    if not found:
        return x.new_zeros(0, len(logs))
    return torch.cat(found)[torch.cat(order).argsort()].masked_fill(impossible, torch.inf)


def _divergence(x: Float[Tensor, "n d"], total: Float[Tensor, " n"], log_prob: Float[Tensor, " d"]) -> Tensor:
    """sum over columns of x log(x / m) - x + m, with m = n p what is expected, (n,); infinite if x is impossible.

    With 1 + u = x / m it is the sum of m ((1 + u) log(1 + u) - u), which is small where x is near m.
    """
    expected = total.unsqueeze(-1) * log_prob.exp()
    some = (x > 0) & (expected > 0)
    m = torch.where(some, expected, 1.0)
    u = (torch.where(some, x, 1.0) - m) / m
    terms = torch.where(some, m * (u * torch.log1p(u) - log1p_deficit(u)), expected)
    return torch.where((x > 0) & (expected <= 0), torch.inf, terms).sum(-1)


def _excess(x: Tensor) -> Tensor:
    """log x! - x log x + x, 0 at x = 0."""
    positive = x.clamp(min=1.0)
    return torch.where(x > 0, positive.log() - log_gamma_deficit(positive), 0.0)

"""Random order of the rows of a table, also of one with more rows than are held at a time; random samples of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .table import SCATTERED_ROWS, Table

COUNTED = 1 << 20  # weights that are counted at a time


def shuffled_windows(
    table: Table, weights: Float[Tensor, " n"] | None, size: int, generator: torch.Generator
) -> Iterator[Int[Tensor, " m"]]:
    """The numbers of all rows of positive weight, once each, in random order.

    They come a window at a time, and a window holds whole batches of `size` rows. A table of one window is shuffled
    as a whole. The `runs` of a larger one are put in random order, and the rows of each window are shuffled.
    """
    n, most = len(table), max(size, table.window_rows // size * size)
    if n <= table.window_rows:
        order = torch.randperm(n, generator=generator)
        yield order if weights is None else order[weights[order] > 0]
        return
    held, count, runs = [], 0, table.runs
    for run in torch.randperm(len(runs), generator=generator).tolist():
        for part in torch.arange(*runs[run]).split(most):
            held.append(part if weights is None else part[weights[part] > 0])
            count += len(held[-1])
            if count >= most:
                rows = torch.cat(held)
                yield rows[:most][torch.randperm(most, generator=generator)]
                held, count = [rows[most:]], count - most
    if count:
        yield torch.cat(held)[torch.randperm(count, generator=generator)]


def sample_row_numbers(
    n: int, weights: Float[Tensor, " n"] | None, positive: int, size: int, generator: torch.Generator
) -> Int[Tensor, " m"]:
    """The numbers, in order, of `size` rows of positive weight, drawn uniformly without replacement.

    n: rows of the table. positive: how many of them have positive weight; all of these if they are at most `size`.
    """
    if positive <= size and weights is not None:
        ranks = torch.arange(positive)
    elif n <= SCATTERED_ROWS:
        order = torch.randperm(n, generator=generator)
        order = order if weights is None else order[weights[order] > 0]
        return order[:size].sort().values
    else:
        ranks = torch.randint(positive, (2 * size,), generator=generator).unique()
        ranks = ranks[torch.randperm(len(ranks), generator=generator)[:size]].sort().values
    return ranks if weights is None else _rows_of_rank(ranks, weights)


def _rows_of_rank(ranks: Int[Tensor, " m"], weights: Float[Tensor, " n"]) -> Int[Tensor, " m"]:
    """The row numbers of these ranks, which count the rows of positive weight from 0."""
    found, before = [], 0
    for start in range(0, len(weights), COUNTED):
        rows = (weights[start : start + COUNTED] > 0).nonzero().squeeze(1)
        own = ranks[(ranks >= before) & (ranks < before + len(rows))]
        found.append(start + rows[own - before])
        before += len(rows)
    return torch.cat(found)

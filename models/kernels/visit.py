"""The E-step's view of rows: what a family hands to the pass over the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

Summarize = Callable[[Tensor], Tensor]  # responsibilities (n, k) -> (k, s)


Block = Callable[[Tensor], tuple[Tensor, Summarize]]  # rows (n, d) -> log_prob (n, k), how to sum their statistics


@runtime_checkable
class Compiled(Protocol):
    """An E-step of rows on the CPU in compiled code: `Linear`, `Coded`."""

    def sum(
        self,
        x: Float[Tensor, "n d"],
        log_weights: Float[Tensor, "*copies k"],
        weights: Float[Tensor, " n"] | None,
        labels: Int[Tensor, " n"] | None,
    ) -> tuple[Float[Tensor, " members"], Float[Tensor, "members s"], Float[Tensor, "*copies"]]:
        """Of the rows the weight of each member, its statistics (or others that lead to the same M-step), and the bound
        of each copy in nats: not finite where some row is impossible, or no number."""
        ...


@dataclass(frozen=True)
class Visit:
    """The E-step's view of rows at the parameters as they stand.

    block: called without gradients, from rows (n, d) to their log_prob (n, k), NaN if some are `outside`, and a
    function from responsibilities (n, k) to sums (k, ...) that add up over blocks, so that both can share T(x).
    collect: sums of blocks, added up, to the statistics (k, s) of `summarize`, or others that lead to the same M-step.
    compiled: makes the same for rows on the CPU, in compiled code, where there is some.
    """

    block: Block
    collect: Callable[[Tensor], Tensor] = lambda sums: sums
    compiled: Callable[[], Compiled] | None = None

"""What a family hands to the E-step: how to read a block of rows, at the current parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

Summarize = Callable[[Tensor], Tensor]  # responsibilities (n, k) -> (k, s)
# rows (n, d) -> log_prob (n, k), and the function that sums the statistics of these rows
BlockFunction = Callable[[Tensor], tuple[Tensor, Summarize]]


@runtime_checkable
class CompiledPass(Protocol):
    """An E-step in compiled code for rows on the CPU: `CompiledLinearPass`, `JointCodePass`."""

    def sum(
        self,
        x: Float[Tensor, "n d"],
        log_weights: Float[Tensor, "*copies k"],
        weights: Float[Tensor, " n"] | None,
        labels: Int[Tensor, " n"] | None,
    ) -> tuple[Float[Tensor, " members"], Float[Tensor, "members s"], Float[Tensor, "*copies"]]:
        """Sum over the rows.

        Args:
            x: Rows (n, d), float64, on the CPU.
            log_weights: log mixture weights (k,), or (copies, k) of several models side by side.
            weights: Row weights (n,), or None for weights of 1.
            labels: Known components (n,), -1 where unknown, or None.

        Returns:
            The weight of each component (copies * k,), its statistics (copies * k, s) or others that lead to the same
            M-step, and the bound of each copy in nats. The bound is not finite if some row is impossible or not a
            number.
        """
        ...


@dataclass(frozen=True)
class Visit:
    """How the E-step reads rows, at the current parameters of a family.

    The E-step calls `block` for each block of rows, turns its log densities into responsibilities, sums the statistics
    of the block with them, and adds these sums over blocks. `collect` turns the total into the statistics of the
    family.

    Attributes:
        block: Called without gradients, with rows (n, d). Returns log_prob (n, k), NaN if some values are unsupported,
            and a function from responsibilities (n, k) to sums (k, ...) that add up over blocks. Both can share T(x).
        collect: Turns the added sums into the statistics (k, s) of `Family.summarize`, or into others that lead to the
            same M-step. By default the sums are the statistics.
        compiled: Makes an object that does all of this in compiled code for rows on the CPU; None if there is no such
            code.
    """

    block: BlockFunction
    collect: Callable[[Tensor], Tensor] = lambda sums: sums
    compiled: Callable[[], CompiledPass] | None = None

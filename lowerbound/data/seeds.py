"""The check of a seed, wherever a user passes one."""

from __future__ import annotations

from numbers import Integral
from typing import Any

LARGEST_SEED = 2**63 - 1  # that all sources of random numbers take


def require_seed(seed: Any) -> int:
    """The seed as an int. Raises ValueError unless it is a whole number from 0 to 2^63 - 1."""
    if not isinstance(seed, Integral) or not 0 <= int(seed) <= LARGEST_SEED:
        raise ValueError(f"seed is {seed!r}, expected a whole number from 0 to 2^63 - 1")
    return int(seed)

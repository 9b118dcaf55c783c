"""The steps between two passes over the rows, for Gaussians with few columns on the CPU, in compiled code.

torch needs some hundred small calls for them, which on a small table is nearly all of the time. The same mathematics by
torch, in `GaussianPass` and `GaussianMStep`, is for many columns, for GPUs, and for components that rounding would cost
digits: these functions then return None.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from .covariance_shapes import Shape

MOST_COLUMNS = 32  # beyond, LAPACK's blocked code is faster


def can_compile_parameters(origin: Tensor) -> bool:
    """Whether the parameters of these components, with their origins (k, d), are few and on the CPU, and numba is not
    switched off."""
    few = origin.is_cpu and origin.shape[-1] <= MOST_COLUMNS
    return few and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


def _numpy(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def coefficients(
    shape: Shape, origin: Tensor, location: Tensor, unit: Tensor, scale: Tensor, limit: float
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Coefficients of log densities, from unconstrained parameters.

    Args:
        shape: The shape of the covariances.
        origin: (k, d).
        location: (k, d) means minus origins, in units.
        unit: (d,).
        scale: The unconstrained scales, of each component or of each group of components that share one.
        limit: The largest squared distance from the centre, in the widths of a component.

    Returns:
        The centre (d,), the origins minus the centre (k, d), and the coefficients (k, 1 + d + s); None if a component
        is beyond the limit.
    """
    from .compiled.gaussian_parameters import gaussian_coefficients  # here: numba is slow to import

    (k, d), s = origin.shape, shape.size(origin.shape[-1])
    width = d**shape.scale_dims
    made = torch.empty(d, dtype=torch.float64), torch.empty(k, d, dtype=torch.float64)
    found = torch.empty(k, 1 + d + s, dtype=torch.float64)
    given = _numpy(origin, location, unit, scale.reshape(-1, width))
    largest = gaussian_coefficients(shape.scale_dims, *given, *_numpy(*made, found))
    return (*made, found) if largest < limit else None


def shifted(shape: Shape, first: Tensor, second: Tensor, share: float, by: Tensor) -> Tensor:
    """Sums (k, 1 + d) of (1, y) and (k, q) or (1, q) of products, about a centre, as sums (k, d + s) about centre + by.

    share: what the products are multiplied by.
    """
    from .compiled.gaussian_parameters import shift_sums

    k, d = by.shape
    out = torch.empty(k, d + shape.size(d), dtype=torch.float64)
    shift_sums(shape.scale_dims, *_numpy(first, second), share, *_numpy(by, out))
    return out


def m_step(
    shape: Shape, unit: Tensor, weight: Tensor, total: Tensor, divisor: Tensor, extra: Tensor, limit: float
) -> tuple[Tensor, Tensor] | None:
    """Unconstrained parameters from sums about the origins.

    Args:
        shape: The shape of the covariances.
        unit: (d,).
        weight: (k,) what the sums of locations are divided by.
        total: (k, d + s) sums of (y, S(y)), pseudo-rows of a prior included.
        divisor: (scales,) what each scatter is divided by.
        extra: (s,) the scatter of a prior, or zeros.
        limit: The largest squared distance from the origin, and size of the data, in the widths of a component.

    Returns:
        Means minus origins in units (k, d), and scales (scales, w); None if a component has no weight, or needs the
        M-step by torch, which guards its digits.
    """
    from .compiled.gaussian_parameters import gaussian_m_step

    k, d = len(weight), len(unit)
    location = torch.empty(k, d, dtype=torch.float64)
    scale = torch.empty(len(divisor), d**shape.scale_dims, dtype=torch.float64)
    given = _numpy(unit, weight, total, divisor, extra)
    return (location, scale) if gaussian_m_step(shape.scale_dims, *given, limit, *_numpy(location, scale)) else None

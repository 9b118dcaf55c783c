"""Responsibilities of a block of rows in compiled code: log-sum-exp and softmax over components, in base 2."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from .compile_kernel import fast
from .floating_point import exp2, log2, wide_vectors

IMPOSSIBLE = -1e29  # a row whose log densities are all below this is impossible under every component


@fast
@no_type_check
def to_responsibilities(joint, first, k, w, peak, mass):
    """Turn log2 joint densities into responsibilities times row weights, in place.

    joint: rows first .. first + k - 1 are the k components of one copy of the model. peak and mass are scratch memory.
    Returns the sum over rows of w times log2 of the summed densities: the bound, in bits.
    """
    wide_vectors()
    rows = joint.shape[1]
    for b in range(rows):
        peak[b] = joint[first, b]
        mass[b] = 0
    for i in range(first + 1, first + k):
        for b in range(rows):
            peak[b] = max(peak[b], joint[i, b])
    for i in range(first, first + k):
        for b in range(rows):
            e = exp2(joint[i, b] - peak[b])
            joint[i, b] = e
            mass[b] += e
    bound = 0.0
    for b in range(rows):
        total = np.float64(mass[b])
        bound += w[b] * (log2(total) + (peak[b] if peak[b] > IMPOSSIBLE else -np.inf))
        mass[b] = w[b] / total
    for i in range(first, first + k):
        for b in range(rows):
            joint[i, b] *= mass[b]
    return bound

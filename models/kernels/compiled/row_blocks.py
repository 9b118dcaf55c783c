"""Blocks of rows in compiled code: copy rows, weights and labels into scratch memory, feature-major."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from .compile_kernel import fast


@fast
@no_type_check
def load_rows(x, start, centre, y):
    """Copy rows from `start` into y (1 + d, rows): a row of ones, then the columns minus `centre`.

    Entries after the last row are 0. Returns the number of rows copied.
    """
    n = min(y.shape[1], len(x) - start)
    y[0] = 1
    for b in range(n):
        for j in range(x.shape[1]):
            y[1 + j, b] = x[start + b, j] - centre[j]
    y[1:, n:] = 0
    return n


@fast
@no_type_check
def load_weights(weights, start, n, w):
    """Copy the weights of n rows from `start` into w; 1 if the rows have no weights, 0 after the last row."""
    w[:n] = 1
    if len(weights):
        w[:n] = weights[start : start + n]
    w[n:] = 0


@fast
@no_type_check
def exclude_other_labels(labels, start, n, k, joint):
    """Set the joint density of labelled rows to 0 in every component but their own.

    joint holds k rows per copy of the model, one after another; the n rows of data begin at `start`.
    """
    for b in range(n if len(labels) else 0):
        if labels[start + b] >= 0:
            for i in range(len(joint)):
                if i % k != labels[start + b]:
                    joint[i, b] = -np.inf

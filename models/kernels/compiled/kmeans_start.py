"""Compiled greedy k-means++: the draws of one start, with distances only to rows that a candidate may be nearer to."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from .compile_kernel import fast
from .floating_point import wide_vectors

SLACK = 1 + 1e-9  # what rounding may hide when two distances are compared


@fast
@no_type_check
def squared_distance(one, other):
    """|one - other|^2 of two vectors."""
    wide_vectors()
    squared = 0.0
    for j in range(len(one)):
        away = one[j] - other[j]
        squared += away * away
    return squared


@fast
@no_type_check
def add_centre(x, centres, component, nearest, owner):
    """Lower the squared distance to the nearest centre, and note its owner, where this centre is nearer."""
    for i in range(len(x)):
        found = squared_distance(x[i], centres[component])
        if found < nearest[i]:
            nearest[i], owner[i] = found, component


@fast
@no_type_check
def drawn_row(cumulated, uniform):
    """The first row whose cumulated probability, not normalized, is at least this share of all: as torch draws it."""
    number, left, right = uniform * cumulated[-1], 0, len(cumulated) - 1
    while left < right:
        middle = left + (right - left) // 2
        if cumulated[middle] < number:
            left = middle + 1
        else:
            right = middle
    return left


@fast
@no_type_check
def draw_centres(x, mass, centres, known, uniforms):
    """Draw the centres that are not known. Returns the component for which no row is left, or -1.

    x (n, d); mass (n,), or empty for ones; centres (k, d), of which `known` (k,) are given; uniforms (k, tries), a row
    for each centre that is drawn, in [0, 1).

    A candidate at a distance of at least 2 r from a centre is not nearer to a row at a distance r from that centre.
    """
    n, k, tries = len(x), len(centres), uniforms.shape[1]
    nearest, owner, cumulated = np.full(n, np.inf), np.zeros(n, np.int64), np.empty(n)
    gap, gain, rows = np.empty((tries, k)), np.empty(tries), np.empty(tries, np.int64)
    have = known.copy()
    for component in range(k):
        if known[component]:
            add_centre(x, centres, component, nearest, owner)
    drawn = 0
    for component in range(k):
        if known[component]:
            continue
        total = 0.0
        for i in range(n):
            total += nearest[i] * mass[i] if len(mass) else nearest[i]
            cumulated[i] = total
        if not 0 < total < np.inf:
            return component
        for t in range(tries):
            rows[t], gain[t] = drawn_row(cumulated, uniforms[drawn, t]), 0.0
            for j in range(k):
                gap[t, j] = squared_distance(x[rows[t]], centres[j]) if have[j] else 0.0
        for i in range(n):
            reach = 4 * SLACK * nearest[i]
            for t in range(tries):
                if gap[t, owner[i]] < reach:
                    less = nearest[i] - squared_distance(x[i], x[rows[t]])
                    if less > 0:
                        gain[t] += less * mass[i] if len(mass) else less
        best = np.argmax(gain)
        centres[component] = x[rows[best]]
        have[component] = True
        for i in range(n):
            if gap[best, owner[i]] < 4 * SLACK * nearest[i]:
                found = squared_distance(x[i], centres[component])
                if found < nearest[i]:
                    nearest[i], owner[i] = found, component
        drawn += 1
    return -1

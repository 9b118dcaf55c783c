"""Compiled greedy k-means++: all draws of one start."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from .block_sizes import ROWS
from .compile_kernel import fast
from .floating_point import wide_vectors


@fast
@no_type_check
def distances_of_block(columns, start, centre, found):
    """The squared distances of the rows from `start` to a centre, as many as `found` has places."""
    wide_vectors()
    for b in range(len(found)):
        found[b] = 0
    for j in range(len(centre)):
        values, middle = columns[j][start : start + len(found)], centre[j]
        for b in range(len(found)):
            away = values[b] - middle
            found[b] += away * away


@fast
@no_type_check
def gain_of_block(nearest, found, mass):
    """By how much these distances lower the sum of mass times the distance to the nearest centre. mass may be empty."""
    wide_vectors()
    gain = 0.0
    if len(mass):
        for b in range(len(found)):
            gain += mass[b] * max(nearest[b] - found[b], 0.0)
    else:
        for b in range(len(found)):
            gain += max(nearest[b] - found[b], 0.0)
    return gain


@fast
@no_type_check
def add_centre(columns, centre, nearest, found):
    """Lower the squared distances to the nearest centre where this centre is nearer."""
    for start in range(0, len(nearest), ROWS):
        m = min(ROWS, len(nearest) - start)
        distances_of_block(columns, start, centre, found[:m])
        part = nearest[start : start + m]
        for b in range(m):
            part[b] = min(part[b], found[b])


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
def draw_centres(columns, mass, centres, known, uniforms):
    """Draw the centres that are not known. Returns the component for which no row is left, or -1.

    columns (d, n): the rows, column by column; mass (n,), or empty for ones; centres (k, d), of which `known` (k,) are
    given; uniforms (k, tries), a row for each centre that is drawn, in [0, 1).
    """
    (d, n), k, tries = columns.shape, len(centres), uniforms.shape[1]
    nearest, cumulated, found = np.full(n, np.inf), np.empty(n), np.empty(ROWS)
    candidates, gain = np.empty((tries, d)), np.empty(tries)
    for component in range(k):
        if known[component]:
            add_centre(columns, centres[component], nearest, found)
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
            row = drawn_row(cumulated, uniforms[drawn, t])
            for j in range(d):
                candidates[t, j] = columns[j, row]
        gain[:] = 0
        for start in range(0, n, ROWS):
            m = min(ROWS, n - start)
            weights = mass[start : start + m]
            for t in range(tries):
                distances_of_block(columns, start, candidates[t], found[:m])
                gain[t] += gain_of_block(nearest[start : start + m], found[:m], weights)
        centres[component] = candidates[np.argmax(gain)]
        add_centre(columns, centres[component], nearest, found)
        drawn += 1
    return -1

"""Label switching, undone."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import COVARIANCES, bits, data, parameters_of, random_mixture, responsibilities

from lowerbound.inference import align
from lowerbound.models import GaussianMixture, Rows, seed

X = data(n=80, d=3)


@pytest.mark.parametrize("covariance", COVARIANCES)
@given(order=st.permutations(range(4)))
def test_a_permutation_is_found_and_undone(covariance, order):
    model = random_mixture(covariance, X, k=4)
    switched = copy.deepcopy(model)
    switched.permute(order)
    for ours, theirs in zip(parameters_of(switched, slice(None)), parameters_of(model, order), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    found = align(model, switched, X)
    np.testing.assert_array_equal(np.asarray(order)[found], range(4))
    switched.permute(found)
    assert bits(switched) == bits(model)


def test_the_best_of_all_permutations_by_brute_force():
    """The most responsibility shared, over all 24, for models that differ in more than labels."""
    from itertools import permutations

    a, b = (random_mixture("full", X, k=4, draw=i) for i in (0, 7))
    shared = responsibilities(a, X).T @ responsibilities(b, X)
    best = max(permutations(range(4)), key=lambda order: sum(shared[j, order[j]] for j in range(4)))
    assert tuple(align(a, b, X).tolist()) == best


def test_weights_of_rows_count():
    """Weight on the rows where a's component 0 is b's component 1, then on the others."""
    a, b = (random_mixture("full", X, k=2, draw=i) for i in (0, 7))
    r, s = responsibilities(a, X), responsibilities(b, X)
    agreement = (r * s).sum(1) - (r * s[:, ::-1]).sum(1)
    assert agreement.min() < -0.1
    assert agreement.max() > 0.1
    for weights, order in ((agreement > 0, [0, 1]), (agreement < 0, [1, 0])):
        assert align(a, b, Rows(X, weights.astype(float))).tolist() == order


def test_canonical_order_does_not_depend_on_the_labels():
    model = random_mixture("full", X, k=4)
    before = parameters_of(model)
    assert (np.diff(before[0]) <= 0).all()  # by decreasing weight
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        model.permute(order)
        for a, b in zip(parameters_of(model), before, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14)
    model.weights = torch.full((4,), 0.25, dtype=torch.float64)
    assert (np.diff(parameters_of(model)[1][:, 0]) >= 0).all()  # ties by the first column's mean


def test_what_cannot_be_aligned_is_refused():
    with pytest.raises(ValueError, match="have 2 and 3 components, expected the same number"):
        align(random_mixture("full", X, k=2), random_mixture("full", X, k=3), X)
    model = seed(GaussianMixture(2, 3), X)
    for order in ([0, 0], [0, 1, 2], [1, 2]):
        with pytest.raises(ValueError, match=r"expected a permutation of 0 \.\. 1"):
            model.permute(order)

"""Relabelled draws: known permutations recovered, the objective against all permutations there are."""

import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowerbound.inference.engines.relabel import relabel


def responsibilities(rng, draws, rows, k, noise):
    """(draws, rows, k), all with the same labels: those of one set of rows, and what is random in each draw."""
    logits = 3 * rng.standard_normal((rows, k)) + noise * rng.standard_normal((draws, rows, k))
    return torch.as_tensor(logits).softmax(-1)


def shuffled(p, rng):
    """Each draw with labels of its own: the permutations, and the draws."""
    orders = torch.as_tensor(np.stack([rng.permutation(p.shape[2]) for _ in p]))
    return orders, torch.gather(p, 2, orders.unsqueeze(1).expand_as(p))


def taken(p, order):
    return torch.gather(p, 2, order.unsqueeze(1).expand_as(p))


def divergence(p):
    """sum over draws and rows of KL(p || mean of all), in nats."""
    return float((p * (p.log() - p.mean(0).log())).sum())


@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([5, 40]))
def test_known_permutations_are_recovered_but_for_one_of_all(seed, k, draws):
    rng = np.random.default_rng(seed)
    p = responsibilities(rng, draws, 30, k, 0.3)
    orders, mixed = shuffled(p, rng)
    found = torch.gather(orders, 1, relabel(mixed))  # of each component the one that it was at first
    np.testing.assert_array_equal(found, found[:1].expand_as(found))


@given(st.integers(0, 10**6), st.integers(2, 3))
def test_no_other_permutations_agree_better(seed, k):
    rng = np.random.default_rng(seed)
    _, mixed = shuffled(responsibilities(rng, 3, 8, k, 0.7), rng)
    every = [torch.tensor(order) for order in itertools.permutations(range(k))]
    pairs = itertools.product(every, repeat=2)
    least = min(divergence(taken(mixed, torch.stack([every[0], *others]))) for others in pairs)
    assert divergence(taken(mixed, relabel(mixed))) <= least + 1e-9


@given(st.integers(0, 10**6), st.integers(2, 4))
def test_the_order_of_draws_does_not_matter_but_for_one_permutation_of_all(seed, k):
    rng = np.random.default_rng(seed)
    _, mixed = shuffled(responsibilities(rng, 12, 30, k, 0.5), rng)
    turned = torch.as_tensor(rng.permutation(12))
    order, other = relabel(mixed), relabel(mixed[turned])
    common = order[turned][0].argsort()[other[0]]  # of the components of the one, those of the other
    np.testing.assert_array_equal(order[turned][:, common], other)


def test_impossible_components_are_no_obstacle():
    hard = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0]]  # probabilities of exactly 0
    mixed = torch.stack([hard, hard[:, [2, 0, 1]], hard[:, [1, 0, 2]]])
    found = taken(mixed, relabel(mixed))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])

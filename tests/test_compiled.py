"""The compiled passes against slow ones in numpy, and numbers against those of twice as many digits."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from reference import linear_pass, nearest_centres

from lowerbound.models import KMeans, Poisson, compiled
from lowerbound.models.kmeans import Nearest
from lowerbound.models.linear import Linear

SIZES = (1, 2, compiled.ROWS - 1, compiled.ROWS, compiled.ROWS + 1, 1000)


@njit
def _each(function, x, out):
    for i in range(len(x)):
        out[i] = function(x[i])


@njit
def _exp2(x):
    return compiled.exp2(x)


def exp2(x):
    found = np.empty_like(x)
    _each(_exp2, x, found)
    return found


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_powers_of_two(dtype):
    x = np.concatenate([np.linspace(-89, 0, 100_001), -np.geomspace(1e-30, 89, 1001), np.arange(-89.0, 1)]).astype(
        dtype
    )
    exact = np.exp2(x.astype(np.longdouble))
    assert np.abs(exp2(x) / exact - 1).max() < 2 * np.finfo(dtype).eps
    assert exp2(np.zeros(1, dtype)) == 1
    assert (exp2(np.array([-np.inf, -1e30, -1e4], dtype)) == 0).all()
    assert np.isnan(exp2(np.array([np.nan], dtype))).all()


def test_logarithms():
    x = np.concatenate([np.geomspace(1, 1e9, 100_001), 1 + np.geomspace(1e-15, 1, 1001), np.arange(1.0, 100)])
    found = np.empty_like(x)
    _each(compiled.log2, x, found)
    exact = np.log2(x.astype(np.longdouble))
    assert (np.abs(found - exact) <= 3 * np.finfo(float).eps * exact).all()
    assert np.isnan(compiled.log2(np.nan))


def drawn(seed, n, d, k, copies=1, p=None, q=0, weighted=False, labelled=False):
    """A linear pass of any statistics, and rows, with all that `linear_pass` asks for."""
    rng = np.random.default_rng(seed)
    p = p or 1 + d
    own, shared = ([np.r_[0, rng.integers(0, d + 1, p - 1)] for _ in range(2)], rng.integers(0, d + 1, (2, q)))
    own, shared = (tuple(tuple(side.tolist()) for side in pair) for pair in (own, shared))
    coefficients, common = rng.standard_normal((copies * k, p)), rng.standard_normal((copies, q))
    log_weights = np.log(rng.dirichlet(np.ones(k), copies))
    x = rng.standard_normal((n, d))
    weights = rng.uniform(0.1, 3, n) if weighted else None
    labels = rng.integers(-1, k, n) if labelled else None
    return x, weights, labels, rng.standard_normal(d), own, shared, coefficients, common, log_weights


def both(x, weights, labels, centre, own, shared, coefficients, common, log_weights, dtype=torch.float64):
    """By the compiled pass and by the slow one: weight, total, shared sums, bound, of all copies."""
    told = {}

    def collect(total, sums):
        told["shared"] = sums.numpy().copy()
        return total

    made = Linear(
        torch.as_tensor(centre), own, torch.as_tensor(coefficients).to(dtype), collect, shared, torch.as_tensor(common)
    )
    tensors = (None if part is None else torch.as_tensor(part) for part in (weights, labels))
    weight, total, bound = made.sum(torch.as_tensor(x), torch.as_tensor(log_weights), *tensors)
    found = weight.numpy(), total.numpy(), told["shared"], bound.numpy()
    k = log_weights.shape[1]
    slow = [
        linear_pass(x, weights, labels, centre, own, shared, coefficients[c * k : (c + 1) * k], common[c], each)
        for c, each in enumerate(log_weights)
    ]
    weight, total, sums, bound = zip(*slow, strict=True)
    return found, (np.concatenate(weight), np.concatenate(total), sums[0], np.array(bound))


@given(
    st.integers(0, 99), st.sampled_from(SIZES), st.integers(1, 6), st.integers(1, 9), st.integers(1, 3),
    st.integers(1, 12), st.integers(0, 7), st.booleans(), st.booleans(),
)  # fmt: skip
def test_the_soft_pass_is_the_slow_one(seed, n, d, k, copies, p, q, weighted, labelled):
    found, slow = both(*drawn(seed, n, d, k, copies, p, q, weighted, labelled))
    for own, other in zip(found, slow, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-11, atol=1e-11 * n)


def test_single_precision_is_within_1e_5_nats_of_a_row():
    case = drawn(0, 5000, 5, 4, p=15, q=3)
    found, slow = both(*case, dtype=torch.float32)
    assert abs(found[3] - slow[3]).max() / 5000 < 1e-6
    assert np.abs(found[1] - slow[1]).max() / 5000 < 1e-6


def test_sums_do_not_depend_on_the_number_of_threads():
    x, *case = drawn(0, 40_000, 8, 8, p=45, q=9)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            results.append(both(x, *case)[0])
        finally:
            torch.set_num_threads(1)
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_what_is_impossible_and_what_is_no_number():
    x, _, _, centre, own, shared, coefficients, common, log_weights = drawn(0, 700, 2, 3)
    log_weights[0, 1] = -np.inf  # a component without weight gets none, and harms none
    found, slow = both(x, None, None, centre, own, shared, coefficients, common, log_weights)
    np.testing.assert_allclose(found[0], slow[0], rtol=1e-12)
    np.testing.assert_allclose(found[3], slow[3], rtol=1e-12)
    assert found[0][1] == 0 and (found[1][1] == 0).all()
    for broken in (np.nan, np.inf):
        x[600, 1] = broken
        with np.errstate(invalid="ignore"):
            found, _ = both(x, None, None, centre, own, shared, coefficients, common, log_weights)
        assert not np.isfinite(found[3]).any()


def test_a_row_that_no_member_can_give():
    family = Poisson(2, 1)
    family.rate = torch.zeros(2, 1).double()
    x, even = torch.tensor([[0.0], [3.0]]).double(), torch.zeros(2).double() - np.log(2)
    linear = family.visit().compiled
    assert linear.sum(x[:1], even, None, None)[2] == 0
    assert linear.sum(x, even, None, None)[2] == -np.inf


@given(
    st.integers(0, 99), st.sampled_from(SIZES), st.integers(1, 5),
    st.sampled_from([1, 2, compiled.FEW, compiled.FEW + 1, 40]), st.booleans(), st.booleans(),
    st.sampled_from([0.0, 1e3]),
)  # fmt: skip
def test_the_hard_pass_is_the_slow_one(seed, n, d, k, weighted, labelled, offset):
    rng = np.random.default_rng(seed)
    x, centres = offset + rng.standard_normal((n, d)), offset + rng.standard_normal((k, d))
    weights = rng.uniform(0.1, 3, n) if weighted else None
    labels = rng.integers(-1, k, n) if labelled else None
    tensors = (None if part is None else torch.as_tensor(part) for part in (weights, labels))
    found = [part.numpy() for part in Nearest(torch.as_tensor(centres)).assigned(torch.as_tensor(x), *tensors)]
    weight, total, distortion, total_weight, furthest, rows, row_weight, clusters = found
    cluster, squared, slow_weight, slow_total = nearest_centres(x, weights, labels, centres)
    w = np.ones(n) if weights is None else weights
    np.testing.assert_allclose(weight, slow_weight, rtol=1e-12)
    np.testing.assert_allclose(total, slow_total, rtol=1e-8, atol=1e-9 * n)
    np.testing.assert_allclose(distortion, w @ squared, rtol=1e-9)
    np.testing.assert_allclose(total_weight, w.sum(), rtol=1e-12)
    free = np.arange(n) if labels is None else np.flatnonzero(labels < 0)
    order = free[np.argsort(-squared[free])][:k]
    np.testing.assert_allclose(furthest, squared[order], rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(rows, x[order])
    np.testing.assert_array_equal(row_weight, w[order])
    np.testing.assert_array_equal(clusters, cluster[order])


def test_rows_at_their_centres_are_at_distance_0():
    """Lengths are subtracted only where they keep their digits."""
    x = 1e3 + np.random.default_rng(0).standard_normal((5, 3))
    model = KMeans(5, 3)
    model.loc, model.family.scale = x, 1.0
    assert model.distortion(np.repeat(x, 100, 0)) == 0


def test_of_equally_near_centres_the_first():
    model = KMeans(3, 1)
    model.loc = [[-1.0], [1.0], [1.0]]
    model.family.scale = 1.0
    assert model.expect(np.array([[0.0], [2.0]])).weight.tolist() == [1, 1, 0]


def test_it_compiles_where_nothing_can_be_kept():
    """A read-only installation, and no home: then each process compiles for itself."""
    program = (
        "from numba.core import caching\n"
        "for kind in vars(caching).values():\n"
        "    if isinstance(kind, type) and hasattr(kind, '_locator_classes'): kind._locator_classes = []\n"
        "import warnings; warnings.simplefilter('ignore')\n"
        "from lowerbound.models import compiled\n"
        "print(compiled.log2(8.0))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "3.0\n"

"""Special functions against mpmath at 60 digits, over wide ranges, and the laws they keep."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowerbound.models.kernels.special_functions import (
    TABLE,
    expected_tables,
    gamma_shape,
    log1p_deficit,
    log_factorial,
    log_gamma_deficit,
    log_gamma_divergence,
    log_gamma_ratio,
    log_minus_digamma,
    ratio_deficit,
)

mpmath.mp.dps = 60
SIZES = [1e-6, 1e-3, 0.1, 1.0, 3.7, 20.0, 63.9, 64.0, 64.1, 200.0, 1e4, 1e8, 1e12]
COUNTS = [0.0, 1.0, 2.0, 7.0, 100.0, 12345.0, 1e6]
positive = st.floats(-12, 12).map(lambda e: 10.0**e)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def exact(function, *arguments):
    return float(function(*map(mpmath.mpf, arguments)))


@pytest.mark.parametrize("size", [1, TABLE + 1], ids=["computed", "looked up"])
def test_log_factorial(size):
    counts = [0, 1, 2, 3, 10, 170, 1000, TABLE - 1, TABLE, 10**6]
    for top in (counts, counts[:-2]):  # with and without one too large for the table
        x = tensor(*top).repeat(size // len(top) + 1)
        wanted = [exact(lambda v: mpmath.loggamma(v + 1), v) for v in top]
        np.testing.assert_allclose(log_factorial(x)[: len(top)], wanted, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("a", SIZES)
def test_log_gamma_ratio(a):
    """Below 64 as good as the larger of its two terms, above to rounding."""
    for x in [*COUNTS, 0.5, 1e-3]:
        wanted = exact(lambda a, x: mpmath.loggamma(a + x) - mpmath.loggamma(a), a, x)
        size = abs(exact(mpmath.loggamma, a)) if a < 65 else 0
        assert float(log_gamma_ratio(tensor(a), tensor(x))) == pytest.approx(
            wanted, rel=2e-14, abs=4e-16 * size + 1e-15
        )
    at = tensor(a).requires_grad_()
    (slope,) = torch.autograd.grad(log_gamma_ratio(at, tensor(7.0)).sum(), at)
    wanted = exact(lambda a: mpmath.digamma(a + 7) - mpmath.digamma(a), a)
    assert float(slope) == pytest.approx(wanted, rel=1e-9 if a > 1e6 else 1e-12)


@pytest.mark.parametrize("a", [*SIZES, 1e16, 1e20])
def test_log_gamma_divergence(a):
    """Where both are above 64 to rounding, of however little is left; below as good as the largest of its terms."""
    for step in [-0.999, -0.1, -1e-8, 0.0, 1e-9, 1e-4, 1.0, 1e3]:
        b = a * (1 + step)
        terms = lambda a, b: (mpmath.loggamma(b), -mpmath.loggamma(a), -(b - a) * mpmath.digamma(a))  # noqa: E731
        wanted = exact(lambda a, b, terms=terms: sum(terms(a, b)), a, b)
        size = sum(map(abs, terms(mpmath.mpf(a), mpmath.mpf(b)))) if min(a, b) <= 64 else 0
        own = float(log_gamma_divergence(tensor(a), tensor(b)))
        assert own == pytest.approx(wanted, rel=1e-13, abs=1e-15 * float(size) + 1e-17)


def test_log_gamma_divergence_of_sizes_that_have_no_digit_in_common():
    a, b = 1e20, 100.0
    wanted = exact(lambda a, b: mpmath.loggamma(b) - mpmath.loggamma(a) - (b - a) * mpmath.digamma(a), a, b)
    assert float(log_gamma_divergence(tensor(a), tensor(b))) == pytest.approx(wanted, rel=1e-13)


@pytest.mark.parametrize("a", SIZES)
def test_log_minus_digamma(a):
    wanted = exact(lambda a: mpmath.log(a) - mpmath.digamma(a), a)
    assert float(log_minus_digamma(tensor(a))) == pytest.approx(wanted, rel=3e-13)


@pytest.mark.parametrize("u", [0.0, 1e-150, 1e-9, 1e-4, 0.00999, 0.01, 0.0101, 0.3, 5.0, 1e6, 1e15])
def test_log1p_deficit(u):
    wanted = exact(lambda u: u - mpmath.log1p(u), u)
    assert float(log1p_deficit(tensor(u))) == pytest.approx(wanted, rel=3e-14)


@pytest.mark.parametrize("a", SIZES)
def test_expected_tables(a):
    """Both sums keep their own digits, also where one is a tiny share of the other."""
    for x in [*COUNTS, 1e18]:
        tables = exact(lambda a, x: a * (mpmath.digamma(a + x) - mpmath.digamma(a)), a, x)
        deficit = exact(lambda a, x: x - a * (mpmath.digamma(a + x) - mpmath.digamma(a)), a, x)
        size = a * abs(exact(mpmath.digamma, a)) if a <= 64 else 0.0
        for own, wanted in zip(expected_tables(tensor(a), tensor(x)), (tables, deficit), strict=True):
            assert float(own) == pytest.approx(wanted, rel=1e-12, abs=1e-15 * size + 1e-16)


@pytest.mark.parametrize("x", [5e-324, 1e-320, 1e-300, 1e-17, 0.05, 0.0999, 0.1001, 1.0 + 1e-9, 3.0, 1e20])
def test_ratio_deficit(x):
    wanted = exact(lambda x: x / 0.7 - 1 - mpmath.log(x / mpmath.mpf(0.7)), x)
    assert float(ratio_deficit(tensor(x), tensor(0.7))) == pytest.approx(wanted, rel=1e-13)


@given(a=positive, x=st.integers(0, 50))
def test_the_deficit_is_a_sum_over_the_counts_below(a, x):
    wanted = sum(mpmath.mpf(j) / (mpmath.mpf(a) + j) for j in range(x))
    assert float(expected_tables(tensor(a), tensor(float(x)))[1]) == pytest.approx(float(wanted), rel=1e-11, abs=1e-12)


@given(a=st.floats(-6, 10).map(lambda e: 10.0**e))
def test_gamma_shape_inverts_the_gap(a):
    """The condition of the root: where a is large, a relative change of it changes the gap by as much."""
    gap = exact(lambda a: mpmath.log(a) - mpmath.digamma(a), a)
    assert float(gamma_shape(tensor(gap))) == pytest.approx(a, rel=1e-11)


@given(
    gap=st.floats(-10, 2).map(lambda e: 10.0**e),
    slope=st.sampled_from([0.0, 1e-3, 2.0]),
    pull=st.sampled_from([0.0, 0.01, 5.0]),
    extra=st.sampled_from([0.0, 0.02, 3.0]),
)
def test_gamma_shape_solves_its_equation(gap, slope, pull, extra):
    a = mpmath.mpf(float(gamma_shape(tensor(gap), slope, pull, extra)))
    left = mpmath.log(a + extra) - mpmath.digamma(a) + pull / a
    assert float(left / (mpmath.mpf(gap) + slope)) == pytest.approx(1, rel=1e-10)


@given(gap=st.floats(-12, 3).map(lambda e: 10.0**e), factor=st.floats(1.001, 10))
def test_gamma_shape_falls(gap, factor):
    near, far = gamma_shape(tensor(gap, gap * factor))
    assert near > far > 0
    assert gamma_shape(tensor(gap), 0.0, 0.5) > near  # a prior of the shape pulls it up
    assert gamma_shape(tensor(gap), gap) < near  # one of its rate pulls it down


def test_no_gap_is_no_spread():
    assert torch.isinf(gamma_shape(tensor(0.0))).all()
    assert gamma_shape(tensor(0.0), 0.01) == pytest.approx(50, abs=1)  # 1 / (2 a) = 0.01, but for 1 / (12 a^2)


@given(a=st.floats(1e-6, 1e15))
def test_deficits_that_cancel_keep_their_digits(a):
    wanted = exact(lambda v: v * mpmath.log(v) - v - mpmath.loggamma(v), a)
    assert log_gamma_deficit(tensor(a)).item() == pytest.approx(wanted, rel=1e-12, abs=1e-12)


@given(e=st.floats(-20, 6), below=st.booleans())
def test_the_deficit_of_a_logarithm_on_both_sides_of_zero(e, below):
    u = -(10.0 ** min(e, -1e-3)) if below else 10.0**e
    wanted = exact(lambda v: v - mpmath.log(1 + v), u)
    assert log1p_deficit(tensor(u)).item() == pytest.approx(wanted, rel=1e-11, abs=0)

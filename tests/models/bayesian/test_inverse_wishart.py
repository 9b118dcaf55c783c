"""The inverse-Wishart distribution against scipy, its bijection against autodiff, and locations in units of data."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import biject_to, kl_divergence, transform_to

from lowerbound.models import Gaussian, Mixture, seed
from lowerbound.models.bayesian.covariance_constraint import Covariances, covariances
from lowerbound.models.bayesian.inverse_wishart import InverseWishart
from lowerbound.models.parameter_units import Located

SIZES = pytest.mark.parametrize("d", [1, 2, 3])


def scale_of(d, seed=0):
    """A positive definite matrix, far from diagonal."""
    a = np.random.default_rng(seed).normal(size=(d, d))
    return a @ a.T + 0.5 * np.eye(d)


def made(df, scale):
    return InverseWishart(df, torch.linalg.cholesky(torch.as_tensor(scale, dtype=torch.float64)))


@SIZES
def test_density_is_that_of_scipy(d):
    scale, df = scale_of(d), d + 1.7
    values = stats.invwishart(df, scale).rvs(7, random_state=1).reshape(7, d, d)
    expected = [stats.invwishart(df, scale).logpdf(v) for v in values]
    np.testing.assert_allclose(made(df, scale).log_prob(torch.as_tensor(values)).numpy(), expected, rtol=1e-11)


def test_density_of_a_batch_is_that_of_each():
    scales, df = np.stack([scale_of(2, s) for s in range(3)]), torch.tensor([1.5, 4.0, 9.0]).double()
    value = torch.as_tensor(scale_of(2, 9))
    expected = [stats.invwishart(float(v), s).logpdf(value.numpy()) for v, s in zip(df, scales, strict=True)]
    batch = made(df, scales)
    assert (batch.batch_shape, batch.event_shape) == ((3,), (2, 2))
    np.testing.assert_allclose(batch.log_prob(value).numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(batch.expand((4, 3)).log_prob(value).numpy(), [expected] * 4, rtol=1e-12)


@SIZES
def test_draws_have_the_moments_of_scipy(d):
    """5 standard errors on at most 18 numbers x 3: a false alarm in 3e-5 of seeds."""
    scale, df, n = scale_of(d), d + 8.0, 20_000
    q = made(df, scale)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = q.rsample((n,)).numpy()
    theirs = stats.invwishart(df, scale)
    np.testing.assert_allclose(q.mean.numpy(), np.reshape(theirs.mean(), (d, d)), rtol=1e-12)
    np.testing.assert_allclose(q.mean.numpy(), scale / (df - d - 1), rtol=1e-12)
    assert (np.abs(x.mean(0) - q.mean.numpy()) < 5 * x.std(0) / np.sqrt(n)).all()
    precision = np.linalg.inv(x)  # Wishart(df, inv(scale)): of mean df inv(scale)
    assert (np.abs(precision.mean(0) - df * np.linalg.inv(scale)) < 5 * precision.std(0) / np.sqrt(n)).all()
    squares = (x - q.mean.numpy()) ** 2
    variance = np.reshape(theirs.var(), (d, d))
    assert (np.abs(squares.mean(0) - variance) < 5 * squares.std(0) / np.sqrt(n)).all()


def test_the_mean_is_infinite_where_there_is_none():
    assert torch.isinf(made(3.0, scale_of(2)).mean).all()


@SIZES
def test_draws_carry_gradients(d):
    """E[Sigma] = scale / (df - d - 1): its slope in the scale, by the mean of slopes of draws; 5 standard errors."""
    factor = torch.linalg.cholesky(torch.as_tensor(scale_of(d))).requires_grad_(True)
    df = torch.tensor(d + 8.0).double().requires_grad_(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        each = [InverseWishart(df, factor).rsample().diagonal().sum() for _ in range(400)]
    slopes = torch.stack([torch.autograd.grad(value, df, retain_graph=True)[0] for value in each]).numpy()
    trace = np.trace(scale_of(d))
    expected = -trace / (df.item() - d - 1) ** 2
    assert abs(slopes.mean() - expected) < 5 * slopes.std() / np.sqrt(len(slopes))


@SIZES
def test_divergence_is_that_of_draws(d):
    """4 standard errors, three numbers: a false alarm in 2e-4 of seeds."""
    q, p = made(d + 4.3, scale_of(d)), made(d + 2.1, 2 * scale_of(d, 5))
    theirs = stats.invwishart(d + 4.3, scale_of(d)), stats.invwishart(d + 2.1, 2 * scale_of(d, 5))
    x = theirs[0].rvs(1000, random_state=3).reshape(-1, d, d)
    ratio = np.array([theirs[0].logpdf(v) - theirs[1].logpdf(v) for v in x]).ravel()
    exact = kl_divergence(q, p).item()
    assert exact > 0.1
    assert abs(ratio.mean() - exact) < 4 * ratio.std() / np.sqrt(len(ratio))
    assert kl_divergence(q, q).abs().item() < 1e-12


def test_divergence_in_one_dimension_is_that_of_gammas():
    q, p = made(3.0, [[2.0]]), made(1.5, [[0.7]])
    halves = torch.tensor([[1.5, 1.0], [0.75, 0.35]], dtype=torch.float64)
    gammas = [torch.distributions.Gamma(*half) for half in halves]
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(*gammas), rtol=1e-13, atol=0)


class Units:
    """What a bijection wants to know of a family."""

    def __init__(self, *unit):
        self.unit = torch.tensor(unit, dtype=torch.float64)


@pytest.mark.parametrize("unit", [None, (1e-3, 50.0, 7.0)], ids=["plain", "units"])
@SIZES
def test_free_numbers_of_a_covariance(d, unit):
    to = biject_to(covariances if unit is None else Covariances(Units(*unit[:d])))
    size = d * (d + 1) // 2
    assert (to.forward_shape((4, size)), to.inverse_shape((4, d, d))) == ((4, d, d), (4, size))
    x = torch.randn(4, size, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    y = to(x)
    assert torch.linalg.eigvalsh(y).min() > 0
    torch.testing.assert_close(to.inv(y), x, rtol=1e-9, atol=1e-9)
    rows, columns = torch.tril_indices(d, d)
    expected = [
        torch.linalg.slogdet(torch.autograd.functional.jacobian(lambda u: to(u)[rows, columns], own)).logabsdet
        for own in x
    ]
    torch.testing.assert_close(to.log_abs_det_jacobian(x, y), torch.stack(expected), rtol=1e-10, atol=1e-10)
    if unit is not None:  # where all free numbers are 0, deviations are the units
        zero = to(torch.zeros(size, dtype=torch.float64))
        torch.testing.assert_close(
            zero, torch.diag(torch.tensor(unit[:d], dtype=torch.float64) ** 2), rtol=1e-12, atol=0
        )


def test_free_numbers_make_a_density_of_total_one():
    """A density in a variance, moved to its free number, integrates to 1 there: by quadrature."""
    q, to = made(2.6, [[1.4]]), transform_to(covariances)
    u = torch.linspace(-12, 20, 20_001, dtype=torch.float64).unsqueeze(-1)
    y = to(u)
    log = q.log_prob(y) + to.log_abs_det_jacobian(u, y)
    np.testing.assert_allclose(torch.trapezoid(log.exp(), u[:, 0]).item(), 1, rtol=1e-9)


@pytest.mark.parametrize("d", [1, 3])
def test_locations_are_measured_in_the_units_of_the_data(d):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, d)) * np.array([1e-3, 50.0, 7.0])[:d] + 100
    family = seed(Mixture(Gaussian(2, d)), x).family
    to = biject_to(Located(family))
    u = torch.randn(2, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = to(u)
    torch.testing.assert_close(y, family.origin + family.unit * u, rtol=1e-14, atol=0)
    torch.testing.assert_close(to.inv(y), u, rtol=1e-6, atol=1e-9)
    jacobian = torch.autograd.functional.jacobian(lambda v: to(v).flatten(), u).reshape(2 * d, 2 * d)
    found = to.log_abs_det_jacobian(u, y)
    torch.testing.assert_close(found.sum(), torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-12, atol=1e-12)


def test_degrees_of_freedom_must_be_more_than_d_minus_1():
    with pytest.raises(ValueError, match="expected more than 1 for 2 by 2 matrices"):
        InverseWishart(1.0, torch.eye(2).double(), validate_args=True)

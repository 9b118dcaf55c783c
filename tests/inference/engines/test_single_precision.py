"""EM(dtype="float32"): passes in single precision, and a result that is float64's."""

import numpy as np
import pytest
import torch
from reference import COVARIANCES

from lowerbound.inference import EM, fit
from lowerbound.models import PPCA, GaussianMixture, Mixture, Poisson, seed

SINGLE = torch.float32


def table(n=20_000, d=4, k=5, apart=4.0, offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return apart * rng.standard_normal((k, d))[rng.integers(k, size=n)] + rng.standard_normal((n, d)) + offset


@pytest.mark.drawn(3)
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize(("apart", "offset"), [(2.0, 0.0), (20.0, 1e4), (1e5, -1e7)])
def test_a_pass_is_within_1e_5_nats_a_row_of_the_one_in_double(covariance, apart, offset):
    x = table(apart=apart, offset=offset)
    model = seed(GaussianMixture(5, 4, covariance), x)
    model = fit(model, x, EM(), max_passes=3).model
    double, single = model.expect(x), model.expect(x, dtype=SINGLE)
    assert single.total.dtype == single.bound.dtype == torch.float64
    assert abs(float(single.bound - double.bound)) / len(x) < 1e-5
    spread = double.total.abs().amax(0)
    assert ((single.total - double.total).abs().sum(0) / spread < 1e-4).all() or covariance.startswith("tied")
    ahead = []
    for statistics in (double, single):
        other = fit(model, x, EM(), max_passes=1).model
        other.maximize(statistics)
        ahead.append(float(other.expect(x).bound) / len(x))
    assert abs(ahead[1] - ahead[0]) < 1e-4  # far from the optimum, where errors of the parameters tell most


def test_many_columns():
    x = table(d=40, n=5000, k=3)
    model = seed(GaussianMixture(3, 40), x)
    assert abs(float(model.expect(x, dtype=SINGLE).bound - model.expect(x).bound)) / len(x) < 1e-5


@pytest.mark.parametrize("covariance", ["full", "tied", "spherical"])
def test_a_fit_ends_where_that_in_double_ends(covariance):
    x = table(apart=2.0, k=3)
    double, single = (fit(GaussianMixture(3, 4, covariance), x, EM(dtype=d), seed=1) for d in ("float64", "float32"))
    assert single.converged
    assert abs(float(single.bounds[-1] - double.bounds[-1])) < 1e-7
    assert float(single.model.bound(x).mean()) == pytest.approx(float(single.bounds[-1]), rel=1e-12)


def test_a_run_that_was_killed_goes_on_in_the_precision_it_was_in(tmp_path, monkeypatch):
    x, file = table(apart=1.5), tmp_path / "run.pt"
    whole = fit(GaussianMixture(5, 4), x, EM(dtype="float32", tol=0.0), max_passes=60)
    maximize, left = Mixture.maximize, [30]

    def killed(self, *arguments):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        maximize(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Mixture, "maximize", killed)
        fit(GaussianMixture(5, 4), x, EM(dtype="float32", tol=0.0), max_passes=60, checkpoint=file)
    again = fit(GaussianMixture(5, 4), x, EM(dtype="float32", tol=0.0), max_passes=60, checkpoint=file)
    assert torch.equal(again.bounds, whole.bounds)


def test_other_families_stay_in_double_and_other_models_say_no():
    x = np.random.default_rng(0).poisson(3.0, (500, 2)).astype(float)
    double, single = (fit(Mixture(Poisson(2, 2)), x, EM(dtype=d)) for d in ("float64", "float32"))
    assert torch.equal(double.bounds, single.bounds)
    with pytest.raises(TypeError, match=r"PPCA computes in one precision, expected EM\(\) without dtype"):
        fit(PPCA(2, 1), x, EM(dtype="float32"))
    with pytest.raises(ValueError, match="expected 'float64'"):
        EM(dtype="float32", accelerate="squarem")

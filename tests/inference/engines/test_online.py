"""Online EM: where EM ends, from batches; and one look at a stream."""

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from families import TABLE
from torch.utils.data import DataLoader, TensorDataset

from lowerbound.inference import EM, OnlineEM, fit, load
from lowerbound.models import (
    PPCA,
    Exponential,
    FamilyOf,
    GaussianMixture,
    KMeans,
    Mixture,
    PoissonMixture,
    Product,
    Rows,
    linear_vae,
    seed,
)
from lowerbound.models.families.poisson import Poisson

MEANS = np.array([[0.0, 0.0], [4.0, 1.0], [-3.0, 5.0]])


def simulated(n, draw=0):
    rng = np.random.default_rng(draw)
    return MEANS[rng.choice(3, n, p=[0.5, 0.3, 0.2])] + rng.normal(size=(n, 2))


X = simulated(900)


def test_the_optimum_of_em():
    """To 1e-6 nats per row with public defaults."""
    weights, labels = np.arange(900) % 3, np.where(np.arange(900) % 11 == 0, 0, -1)
    for settings in ({}, {"weights": weights, "labels": labels}):
        model = seed(GaussianMixture(3, 2, prior="weak"), X)
        batch = fit(model, X, EM(tol=1e-12), **settings)
        online = fit(model, X, OnlineEM(batch_size=64), **settings)
        assert online.converged
        assert abs(batch.bounds[-1] - online.bounds[-1]) < 1e-6


@pytest.mark.parametrize("name", ["poisson", "student", "negative-binomial", "product", "gamma", "categorical"])
def test_other_families_rise_towards_it(name):
    case = TABLE[name]
    x, _ = case.data(300)
    model = case.set(case.model())
    online = fit(model, x, OnlineEM(batch_size=50), max_passes=25)
    best = fit(model, x, EM(), max_passes=100).bounds[-1]
    # degrees of freedom and concentrations move by EM's own short steps
    assert best - online.bounds[-1] < (1e-2 if model.generalized else 1e-3)
    assert online.bounds[-1].item() == pytest.approx(case.log_evidence(online.model, x).mean(), rel=1e-10)


def test_ppca():
    x = X @ np.random.default_rng(0).normal(size=(2, 4)) + np.random.default_rng(1).normal(size=(900, 4))
    online = fit(PPCA(4, 2), x, OnlineEM(), max_passes=100)
    exact = PPCA.closed_form(x, 2).bound(x).mean()
    assert 0 <= exact - online.bounds[-1] < 1e-4


def test_rows_of_any_kind(tmp_path):
    np.save(tmp_path / "x.npy", X)
    model = seed(GaussianMixture(3, 2), X)
    best = fit(model, X, EM()).bounds[-1]
    own = fit(model, X, OnlineEM(100), seed=3)
    mapped = fit(model, np.load(tmp_path / "x.npy", mmap_mode="r"), OnlineEM(100), seed=3)
    assert torch.equal(own.bounds, mapped.bounds)
    loader = DataLoader(TensorDataset(torch.tensor(X)), batch_size=100, shuffle=True)
    assert abs(fit(model, loader, OnlineEM(100)).bounds[-1] - best) < 1e-6
    with pytest.raises(ValueError, match=r"batches of 100 rows and batch_size=256.*pass OnlineEM\(batch_size=100\)"):
        fit(model, loader, OnlineEM())


def test_the_first_step_by_hand():
    """Poisson, one batch of all rows: s1 = (1 - g) s0 + g s(theta1), where theta1 = theta0, so the EM step itself."""
    x = TABLE["poisson"].data(90)[0]
    model = TABLE["poisson"].set(TABLE["poisson"].model())
    result = fit(model, x, OnlineEM(batch_size=90), max_passes=2)
    model.maximize(model.expect(x))
    torch.testing.assert_close(result.model.family.rate, model.family.rate, rtol=1e-12, atol=0)
    # two batches: s0 of all rows; then each batch at the parameters as they stand, by steps of 3^-0.6 and 4^-0.6
    model = TABLE["poisson"].set(TABLE["poisson"].model())
    mean = [part / 90 for part in (model.expect(x).weight, model.expect(x).total)]
    order = iter(Rows(x).batches(45, torch.Generator().manual_seed(0)))
    steps = OnlineEM(batch_size=45).passes(model, Rows(x), 2, torch.Generator().manual_seed(0))
    next(steps)
    by_hand = TABLE["poisson"].set(TABLE["poisson"].model())
    for t, batch in enumerate(order, 1):
        new = by_hand.expect(batch.x)
        g = (t + 2) ** -0.6
        mean = [(1 - g) * m + g * part / 45 for m, part in zip(mean, (new.weight, new.total), strict=True)]
        by_hand.weights, by_hand.family.rate = mean[0] / mean[0].sum(), mean[1] / mean[0][:, None]
    next(steps)
    torch.testing.assert_close(model.family.rate, by_hand.family.rate, rtol=1e-12, atol=0)
    torch.testing.assert_close(model.weights, by_hand.weights, rtol=1e-12, atol=0)


def test_one_look_at_a_stream_of_100_000_rows():
    """Within 0.001 nats per row of batch EM, on the same rows."""
    x = simulated(100_000, draw=1)
    model = seed(GaussianMixture(3, 2), x[:1000])
    best = float(fit(model, x, EM()).bounds[-1])
    batches = (x[start : start + 500] for start in range(0, len(x), 500))
    foretold = list(OnlineEM().follow(model, batches))
    assert len(foretold) == 200
    assert best - model.bound(x).mean() < 1e-3
    assert np.mean(foretold[:5]) < np.mean(foretold[-50:])
    assert foretold[-50:] == pytest.approx([best] * 50, abs=0.3)  # of 500 rows: their standard error is about 0.05


def test_a_stream_foretells_before_it_learns_and_takes_any_table():
    model = seed(GaussianMixture(3, 2), X[:300])
    expected = float(model.bound(X[300:500]).mean())
    stream = OnlineEM().follow(model, [X[300:500], torch.tensor(X[500:700]), pd.DataFrame(X[700:])])
    assert next(stream) == pytest.approx(expected, rel=1e-12)
    assert len(list(stream)) == 2
    assert list(OnlineEM().follow(model, [])) == []


def test_what_cannot_be_averaged_is_refused():
    for model in (KMeans(3, 2), Mixture(FamilyOf(dist.Laplace, 3, 2))):
        with pytest.raises(TypeError, match=r"change smoothly|averaged"):
            fit(model, X, OnlineEM())
        with pytest.raises(TypeError, match=r"change smoothly|averaged"):
            next(OnlineEM().follow(seed(model, X), [X]))
    mixed = Mixture(Product(Poisson(2, 1), FamilyOf(dist.Exponential, 2, 1)))
    with pytest.raises(TypeError, match=r"change smoothly|averaged"):
        fit(mixed, np.abs(X).round() + 1, OnlineEM())
    with pytest.raises(TypeError, match="OnlineEM needs expect"):
        fit(linear_vae(2, 1), X, OnlineEM())
    with pytest.raises(ValueError, match="not set"):
        next(OnlineEM().follow(PoissonMixture(2, 1), [X]))


def test_settings(as_users_run_it):
    for bad in ({"batch_size": 0}, {"exponent": 0.5}, {"exponent": 1.1}, {"tol": -1.0}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} is"):
            OnlineEM(**bad)


def test_save_and_load(tmp_path):
    result = fit(Mixture(Exponential(2, 2)), np.abs(X) + 0.1, OnlineEM(100, exponent=0.7), max_passes=3)
    result.save(tmp_path / "fit")
    assert load(tmp_path / "fit").engine == OnlineEM(100, exponent=0.7)


@pytest.mark.parametrize("max_passes", [2, 3, 10])
def test_a_short_run_from_an_optimum_has_converged(max_passes):
    """Refits from their own result; and one from elsewhere, which has not."""
    found = fit(PoissonMixture(2, 1), np.repeat([[1.0], [2.0], [20.0], [30.0]], 20, 0), OnlineEM())
    for _ in range(3):
        found = fit(found.model, np.repeat([[1.0], [2.0], [20.0], [30.0]], 20, 0), OnlineEM(), max_passes=max_passes)
        assert found.converged and found.reason == "converged: no more than rounding left to gain"
    assert not fit(GaussianMixture(3, 2), X, OnlineEM(), max_passes=max_passes).converged
    assert not fit(GaussianMixture(3, 2), X, OnlineEM(), max_passes=1).converged

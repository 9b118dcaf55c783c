"""No public method returns NaN for finite rows, however large or small their values."""

import numpy as np
import pytest
import torch
from families import TABLE

from lowerbound.inference import EM, evidence, fit
from lowerbound.models import (
    PPCA,
    BayesianMixture,
    Exponential,
    Gaussian,
    KMeans,
    Mixture,
    Multinomial,
    Poisson,
    StudentT,
    seed,
)

HUGE = [1e20, 1e155, 1e200, 1e308, -1e155, -1e308, 5e-324, 1e-300, 0.0, 1.0]


def hostile(x):
    """Rows of x with one value, or all of them, of one sign or of both, replaced by each of these."""
    n, d = x.shape
    rows = []
    for value in HUGE:
        for column in range(d):
            rows.append(np.where(np.arange(d) == column, value, x[len(rows) % n]))
        rows.append(np.full(d, value))
        rows.append(value * (-1.0) ** np.arange(d))
    return torch.as_tensor(np.array(rows), dtype=torch.float64)


def possible(model, x):
    """The rows that the family takes."""
    refused = model._row_family.unsupported(x)
    return x if refused is None else x[~refused.any(1)]


def require_numbers(model, x):
    for name in ("bound", "evidence", "predict", "objective"):
        found = getattr(model, name)(x).detach()
        assert not found.isnan().any(), (name, x[found.isnan()])
    assert not model.posterior(x).probs.isnan().any()


@pytest.mark.parametrize("name", TABLE)
def test_mixtures(name):
    case = TABLE[name]
    model = seed(case.model(3), case.data(60)[0])
    for each in (case.set(model), seed(case.model(3), case.data(60)[0])):  # parameters of the table, and of a start
        x = possible(each, hostile(case.data(60)[0]))
        assert len(x) >= 8
        require_numbers(each, x)
        found = each.family.log_prob(x).detach()
        assert not found.isnan().any(), x[found.isnan().any(1)]


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical", "tied-diag", "tied-spherical"])
def test_gaussians_and_their_posterior(covariance):
    data = TABLE["student"].data(60)[0]
    for model in (
        Mixture(Gaussian(3, 2, covariance)),
        Mixture(StudentT(3, 2, covariance=covariance)),
        BayesianMixture(Gaussian(3, 2, covariance)),
    ):
        require_numbers(seed(model, data), hostile(data))


@pytest.mark.parametrize("family", [Poisson, Exponential, Multinomial])
def test_conjugate_posteriors(family):
    data = np.round(np.random.default_rng(0).gamma(3, 3, (40, 2))) + 1
    model = seed(BayesianMixture(family(2, 2)), data)
    require_numbers(model, possible(model, hostile(data)))


def test_student_t_is_exact_far_away():
    """log t(x) = log t(0) - (dof + d) / 2 log(1 + x'x / dof), of 1e155 and of 1e10, where Gaussian densities differ by
    1e20 nats and lose all digits of t."""
    family = StudentT(1, 2, dof=3.0)
    at_centre = float(family.log_prob(torch.zeros(1, 2).double()).detach())
    for r in (1e10, 1e155, 1e200, 1e300):
        x = torch.tensor([[r, -r]], dtype=torch.float64)
        wanted = at_centre - 2.5 * (np.log(2 / 3) + 2 * np.log(r))
        assert family.log_prob(x).item() == pytest.approx(wanted, abs=1e-9)


def test_distances_of_kmeans():
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1e155, 0.0], [1e200, 1e200], [-1e308, 1e308]], dtype=torch.float64)
    model = seed(KMeans(2, 2), x[:2])
    for rows in (x[:3], x):
        with pytest.raises(ArithmeticError, match="probability zero"):  # its square is beyond the largest number
            model.distortion(rows)
    assert not model.bound(x).isnan().any()
    assert model.predict(x[:2]).tolist() == [0, 1] or model.predict(x[:2]).tolist() == [1, 0]


@pytest.mark.parametrize("latent", [1, 2])
def test_ppca(latent):
    data = np.random.default_rng(0).normal(size=(60, 3)) @ np.random.default_rng(1).normal(size=(3, 3))
    data = data[:, : latent + 1]
    model = fit(PPCA(latent + 1, latent), data, EM(), max_passes=20).model
    x = hostile(data)
    read = (model.bound, model.objective, model.transform, model.reconstruct, lambda x: model.posterior(x).mean)
    for found in (*(method(x) for method in read), evidence(model, x[:5]).log_evidence):
        assert not found.detach().isnan().any(), x[found.detach().isnan().reshape(len(found), -1).any(1)]
    # what is linear in a row stays so
    row, loc = torch.tensor([[1.0, -1.0, 0.5][: latent + 1]], dtype=torch.float64), model.loc.detach()
    torch.testing.assert_close(model.transform(1e307 * row) / 1e307, model.transform(loc + row), rtol=1e-9, atol=0)
    torch.testing.assert_close(model.reconstruct(1e307 * row) / 1e307, model.reconstruct(loc + row) - loc)
    assert float(model.bound(1e150 * row)) / 1e300 == pytest.approx(float(model.bound(1e100 * row) / 1e200), rel=1e-12)


def test_counts_of_large_sums():
    data = np.random.default_rng(0).poisson(1e7, (40, 3)).astype(float)
    for model in (Mixture(Multinomial(2, 3)), BayesianMixture(Multinomial(2, 3))):
        model = seed(model, data)
        require_numbers(model, possible(model, hostile(data)))

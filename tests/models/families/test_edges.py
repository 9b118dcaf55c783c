"""Corners of the families that were wrong once: impossible rows, empty components, odd distributions, files."""

import mpmath
import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch

from lowerbound.inference import EM, SVI, compare, elbo_gap, fit, load
from lowerbound.models import (
    BernoulliMixture,
    Categorical,
    CategoricalMixture,
    ExponentialMixture,
    FamilyOf,
    GammaMixture,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    NegativeBinomialMixture,
    PoissonMixture,
    Product,
)


def test_rows_of_weight_zero_that_are_impossible_do_not_matter():
    x = torch.tensor([[0.0, 0], [1, 1], [0, 1], [1, 0], [0, 0], [1, 1], [2, 0]] * 20, dtype=torch.float64)
    weights = (x[:, 0] < 2).double()
    for engine in (EM(), SVI("exact")):
        result = fit(CategoricalMixture(2, [3, 2]), x, engine, weights=weights, max_passes=50)
        plain = fit(CategoricalMixture(2, [3, 2]), x[weights > 0], engine, max_passes=50)
        assert np.isfinite(result.gradient_norm)
        scores = compare(x, weights=weights, em=result).frame().loc["em"]
        alone = compare(x[weights > 0], em=result).frame().loc["em"]
        assert scores.log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-12)
        assert np.isfinite(plain.gradient_norm)
    statistics = result.model.expect([[2.0, 0.0], [2.0, 1.0]], torch.zeros(2))
    assert statistics.bound == 0 and (statistics.total == 0).all() and statistics.total_weight == 0


@pytest.mark.parametrize(
    ("model", "x", "new"),
    [
        (CategoricalMixture(2, [3]), [[0.0], [1.0]] * 10, [[2.0]]),
        (BernoulliMixture(2, 2), [[0.0, 0.0], [0.0, 1.0]] * 10, [[1.0, 0.0]]),
    ],
)
def test_rows_that_maximum_likelihood_has_never_seen_have_no_likelihood_and_the_weights_as_posterior(model, x, new):
    fitted = fit(model, x, EM(), max_passes=20).model
    assert fitted.bound(new).item() == -np.inf
    np.testing.assert_allclose(fitted.posterior(new).probs[0], fitted.weights.detach(), rtol=1e-12)
    if isinstance(fitted.family, Categorical):  # of Bernoulli columns Pyro's program says -700 nats
        gap = elbo_gap(fitted, x[:3] + new)
        assert gap.evidence[3] == -np.inf and gap.kl[3] == 0 and torch.isfinite(gap.evidence[:3]).all()


def test_symmetric_matrices_have_half_as_many_free_numbers():
    family = FamilyOf(dist.MultivariateNormal, 2, 3, parameters=["loc", "covariance_matrix"])
    assert Mixture(family).free_parameters() == 1 + 2 * (3 + 6) == GaussianMixture(2, 3).free_parameters()


def test_matrices_and_columns_of_one_name_are_all_in_the_summary():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = fit(Mixture(FamilyOf(dist.MultivariateNormal, 2, 3)), x, EM(), max_passes=5).model
    entries = [name for name in model.summary() if name.startswith("scale_tril")]
    assert entries == [f"scale_tril[{i},{j}]" for i in range(3) for j in range(i + 1)]
    student = fit(Mixture(FamilyOf(dist.MultivariateStudentT, 2, 3)), x, EM(), max_passes=5).model
    assert "df" in student.summary()
    table = pd.DataFrame(x.numpy()[:, :2], columns=["a", "a"])
    assert fit(GaussianMixture(1, 2), table, EM()).model.summary().shape == (1, 5)


def test_a_weak_prior_takes_its_centre_from_parameters_set_by_hand():
    model = Mixture(FamilyOf(dist.Laplace, 2, 1, prior="weak"))
    model.weights, model.family.loc, model.family.scale = [0.5, 0.5], [[-1.0], [1.0]], [[1.0], [1.0]]
    x = torch.randn(200, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert fit(model, x, EM()).bounds.diff().min() > -1e-10


class Mine(dist.Laplace):
    pass


KEPT = [
    FamilyOf(dist.Binomial, 2, 2, fixed={"total_count": torch.tensor([10.0, 20.0])}),
    FamilyOf(dist.Laplace, 2, 2, prior={"loc": dist.Normal(torch.zeros(2, dtype=torch.float64), 10.0)}),
    FamilyOf(
        dist.Laplace,
        2,
        2,
        prior={"loc": dist.MultivariateNormal(torch.zeros(2).double(), scale_tril=2 * torch.eye(2).double())},
    ),
]


@pytest.mark.parametrize("family", KEPT)
def test_what_is_saved_is_read(family, tmp_path):
    x = torch.randint(9, (50, 2), generator=torch.Generator().manual_seed(0)).double()
    result = fit(Mixture(family), x, EM(), max_passes=3)
    result.save(tmp_path / "fit")
    again = load(tmp_path / "fit").model
    assert torch.equal(again.bound(x), result.model.bound(x))
    assert torch.equal(again.global_term(), result.model.global_term())


def test_a_distribution_of_ones_own_is_read_into_a_model_of_it_alone(tmp_path):
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(0)).double()
    result = fit(Mixture(FamilyOf(Mine, 2, 1)), x, EM(), max_passes=3)
    result.save(tmp_path / "fit")
    with pytest.raises(ValueError, match="of a Mine, which lowerbound does not have: load"):
        load(tmp_path / "fit")
    with pytest.raises(ValueError, match="Mine"):
        load(tmp_path / "fit", into=Mixture(FamilyOf(dist.Normal, 2, 1)))
    again = load(tmp_path / "fit", into=Mixture(FamilyOf(Mine, 2, 1))).model
    assert torch.equal(again.bound(x), result.model.bound(x))


def test_a_component_without_rows_of_its_own_has_finite_parameters():
    x = torch.arange(20.0).unsqueeze(1).double()
    result = fit(NegativeBinomialMixture(3, 1), x, EM(), labels=torch.arange(20) % 2)
    assert torch.isfinite(result.model.family.mean).all() and torch.isfinite(result.bounds).all()


def test_large_counts_that_are_poisson_are_fitted_as_poisson():
    x = torch.poisson(torch.full((2000, 1), 1e8), torch.Generator().manual_seed(0)).double()
    ours, poisson = (fit(model, x, EM()) for model in (NegativeBinomialMixture(1, 1), PoissonMixture(1, 1)))
    assert float(ours.bounds[-1]) >= float(poisson.bounds[-1]) - 1e-4


@pytest.mark.parametrize("model", [ExponentialMixture(2, 1), GammaMixture(2, 1)])
def test_two_scales_a_million_apart_are_no_collapse(model):
    waits = torch.distributions.Exponential(torch.tensor(1.0, dtype=torch.float64))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.cat([waits.sample((300, 1)), 1e6 * waits.sample((300, 1))])
    model.weights = [0.5, 0.5]
    model.family.rate = [[1.0], [1e-6]]
    if hasattr(model.family, "concentration"):
        model.family.concentration = [[1.0], [1.0]]
    result = fit(model, x, EM())
    assert torch.allclose(result.model.weights.detach(), torch.tensor([0.5, 0.5]).double(), atol=0.02)


def test_cells_that_no_component_can_give_are_refused_by_expect_too(as_users_run_it):
    model = CategoricalMixture(2, [2, 2, 2])
    model.weights, model.family.probs = [0.5, 0.5], torch.tensor([[[0.9, 0.1]] * 3, [[0.2, 0.8]] * 3])
    with pytest.raises(ValueError, match=r"row 0, column 0 holds 0\.5, expected the code of a category"):
        model.expect([[0.5, 0, 0]] * 4)
    counts = PoissonMixture(2, 10)
    counts.weights, counts.family.rate = [0.5, 0.5], torch.ones(2, 10)
    for bad, words in ((float("inf"), "row 3, column 2 holds an infinite value"), (-1e9, "row 3, column 2 holds -1e")):
        x = torch.ones(9000, 10, dtype=torch.float64)
        x[3, 2] = bad
        with pytest.raises(ValueError, match=words):
            counts.expect(x)


def test_components_of_any_distribution_that_shrink_onto_a_point_are_a_collapse():
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    spike = FamilyOf(dist.Normal, 2, 1)
    spike.loc, spike.scale = [[0.0], [5.0]], [[1.0], [1e-7]]
    assert spike.collapsed(weights).tolist() == [False, True]
    narrow = FamilyOf(dist.Normal, 2, 1)
    narrow.loc, narrow.scale = [[0.0], [5.0]], [[1e-7], [1e-7]]  # clusters far apart
    scales = FamilyOf(dist.Exponential, 2, 1)
    scales.rate = [[1.0], [1e-8]]  # and very different scales are none
    assert not narrow.collapsed(weights).any() and not scales.collapsed(weights).any()


def test_a_family_twice_and_weights_of_k_means_are_refused(as_users_run_it):
    one = Gaussian(2, 1)
    with pytest.raises(ValueError, match="got one family twice"):
        Product(one, one)
    with pytest.raises(ValueError, match="the weights of KMeans are equal"):
        KMeans(2, 1).weights = torch.tensor([0.9, 0.1])
    with pytest.raises(TypeError, match="families for different columns go into a Product"):
        Mixture(Gaussian(2, 1), Gaussian(2, 1))
    for distribution in (dist.Uniform, dist.LowRankMultivariateNormal):
        with pytest.raises(ValueError, match="expected"):
            FamilyOf(distribution, 2, 3, prior="weak")


@pytest.mark.parametrize(("offset", "near"), [(10.0, 1e-12), (1e5, 1e-9), (1e6, 1e-8)])
def test_gamma_columns_far_from_zero_keep_their_digits(offset, near):
    """Two groups 6 standard deviations apart; mpmath at 50 digits for the density, the gradient of EM's own bound."""
    x = offset + torch.randn(2000, 1, generator=torch.Generator().manual_seed(0)).double()
    x[1000:] += 6
    result = fit(GammaMixture(2, 1), x, EM())
    assert result.converged and result.bounds.diff().min() >= -1e-12
    family, weights = result.model.family, result.model.weights.tolist()
    for row in (3, 1500):
        v, total = mpmath.mpf(x[row].item()), mpmath.mpf(0)
        with mpmath.workdps(50):
            for w, a, b in zip(weights, family.concentration[:, 0].tolist(), family.rate[:, 0].tolist(), strict=True):
                a, b = mpmath.mpf(a), mpmath.mpf(b)
                total += w * mpmath.exp(a * mpmath.log(b) - mpmath.loggamma(a) + (a - 1) * mpmath.log(v) - b * v)
            assert float(mpmath.log(total)) == pytest.approx(result.model.bound(x[row : row + 1]).item(), abs=near)

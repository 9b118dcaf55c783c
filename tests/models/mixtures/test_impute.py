"""Missing values are filled in: by their conditional means and draws; and which tables with gaps are refused."""

import matplotlib.pyplot
import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from families import TABLE, WEIGHTS
from pyro.nn import PyroParam
from reference import data
from scipy import stats
from scipy.special import logsumexp
from test_missing import FAITHFUL, IRIS, seen_log_density, torn
from torch.distributions import constraints
from torch.utils.data import DataLoader, TensorDataset

from lowerbound.inference import EM, compare, fit
from lowerbound.models import (
    BayesianMixture,
    Categorical,
    FamilyOf,
    Gamma,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    Multinomial,
    Poisson,
    Product,
    StudentT,
    TakesMissing,
    check_family,
    check_model,
    seed,
)

# imputation


def test_imputation_of_one_gaussian_is_regression():
    x = data(50, 3)
    model = fit(GaussianMixture(1, 3), x, EM()).model
    gap = x.copy()
    gap[:, 1] = np.nan
    moments = model.family.moments()
    mean, matrix = moments.mean[0].numpy(), moments.covariance[0].numpy()
    slope = np.linalg.solve(matrix[np.ix_([0, 2], [0, 2])], matrix[[0, 2], 1])
    filled = model.impute(gap)
    np.testing.assert_allclose(filled.values[:, 1], mean[1] + (x[:, [0, 2]] - mean[[0, 2]]) @ slope, rtol=1e-9)
    left = np.sqrt(matrix[1, 1] - slope @ matrix[[0, 2], 1])
    np.testing.assert_allclose(filled.uncertainty[:, 1], np.full(50, left), rtol=1e-9)
    assert (filled.uncertainty[:, [0, 2]] == 0).all()
    np.testing.assert_array_equal(filled.values[:, [0, 2]], x[:, [0, 2]])


def test_imputation_of_codes_is_the_likeliest():
    case = TABLE["product"]
    model = case.set(case.model())
    x = torn(case.data(60)[0], 0.5)
    joint = seen_log_density(case.law, case.read(model), x) + np.log(WEIGHTS)
    r = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    filled, gone = model.impute(x), np.isnan(x[:, 4])
    share = r @ case.parameters["parts.2.probs"][:, 1]
    np.testing.assert_array_equal(filled.values[gone, 4], share[gone].argmax(1))
    np.testing.assert_allclose(filled.uncertainty[gone, 4], 1 - share[gone].max(1), atol=1e-9)
    yes = TABLE["bernoulli"].set(TABLE["bernoulli"].model())
    only = yes.impute(np.full((1, 5), np.nan))
    p = WEIGHTS @ TABLE["bernoulli"].parameters["probs"]
    np.testing.assert_array_equal(only.values[0], p > 0.5)
    np.testing.assert_allclose(only.uncertainty[0], np.minimum(p, 1 - p))


@pytest.mark.parametrize("name", ["student", "student-diag", "gamma", "negative-binomial", "laplace"])
def test_draws_have_the_conditional_mean_and_variance(name):
    """4 standard errors of a mean of 4000: fails for one in 16,000 of some 30 cells. Deviations within a quarter."""
    case = TABLE[name]
    family = case.set(case.model()).family
    x = torch.as_tensor(torn(case.data(8)[0], 0.5, 3))
    mean, variance = (part.detach() for part in family.moments_given(x))
    gone = x.isnan()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for z in range(3):
            draws = family.draw_missing(x.repeat(4000, 1), torch.full((4000 * len(x),), z)).reshape(4000, *x.shape)
            assert torch.equal(draws[:, ~gone], x[~gone].expand(4000, -1))
            wide = variance[:, z].sqrt()[gone]
            away = (draws.mean(0) - mean[:, z])[gone] / (wide / 4000**0.5)
            assert away.abs().max() < 4
            torch.testing.assert_close(draws.std(0)[gone], wide, rtol=0.25, atol=0)


def test_draws_of_a_table_of_mixed_columns_are_as_sure_as_the_imputation_says():
    """4 standard errors at 4000 draws, as above."""
    case = TABLE["product"]
    model = case.set(case.model())
    x = torn(case.data(12)[0], 0.5, 3)
    filled, gone = model.impute(x), np.isnan(x)
    draws = model.draw_missing(x, 4000, seed=0)
    assert draws.shape == (4000, *x.shape)
    for i, j in zip(*gone.nonzero(), strict=True):
        value, sure = float(filled.values[i, j]), float(filled.uncertainty[i, j])
        if j in (2, 4):  # codes
            hit = float((draws[:, i, j] == value).double().mean())
            assert hit == pytest.approx(1 - sure, abs=4 * (sure * (1 - sure) / 4000) ** 0.5 + 1e-3)
        else:
            assert float(draws[:, i, j].mean()) == pytest.approx(value, abs=4 * sure / 4000**0.5)
    assert torch.equal(model.draw_missing(x, 2, seed=1), model.draw_missing(x, 2, seed=1))


def test_draws_of_two_missing_cells_vary_together():
    x = data(40, 3)
    model = fit(GaussianMixture(1, 3), x, EM()).model
    row = np.array([[x[0, 0], np.nan, np.nan]])
    draws = model.draw_missing(row, 20_000, seed=0)[:, 0, 1:].numpy()
    matrix = model.family.moments().covariance[0].numpy()
    expected = matrix[1:, 1:] - np.outer(matrix[1:, 0], matrix[0, 1:]) / matrix[0, 0]
    size = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    assert (abs(np.cov(draws.T) - expected) / size).max() < 4 * np.sqrt(2 / 20_000)


@pytest.mark.parametrize(("x", "k"), [(FAITHFUL, 2), (IRIS, 3)], ids=["faithful", "iris"])
def test_imputation_beats_the_column_mean_and_knows_how_far_it_is_off(x, k):
    """Five tables with a fifth of the cells deleted. Coverage of the 90 % interval within 3 standard errors of a
    proportion; the errors of iris's 5 x 120 cells share fitted parameters, so that 2 points more are allowed."""
    squared, plain, inside, cells = 0.0, 0.0, 0, 0
    for s in range(5):
        gap = torn(x, 0.2, s)
        gone = np.isnan(gap)
        model = fit(GaussianMixture(k, x.shape[1]), gap, EM(), seed=s).model
        spread = x.std(0)
        squared += (((model.impute(gap).values.numpy() - x) / spread)[gone] ** 2).sum()
        plain += (((np.nanmean(gap, axis=0) - x) / spread)[gone] ** 2).sum()
        low, high = np.quantile(model.draw_missing(gap, 400, seed=s).numpy(), [0.05, 0.95], axis=0)
        inside += ((low <= x) & (x <= high))[gone].sum()
        cells += gone.sum()
    assert squared < 0.5 * plain
    assert inside / cells == pytest.approx(0.9, abs=3 * np.sqrt(0.09 / cells) + 0.02)


# what goes in


def test_tables_of_every_kind():
    gap = torn(FAITHFUL, 0.2)
    one = fit(GaussianMixture(2, 2), gap, EM())
    frame = pd.DataFrame(gap, columns=["eruptions", "waiting"])
    for x in (torch.as_tensor(gap), frame, TensorDataset(torch.as_tensor(gap)), frame.astype("Float64")):
        torch.testing.assert_close(fit(GaussianMixture(2, 2), x, EM()).bounds, one.bounds)
    loader = DataLoader(TensorDataset(torch.as_tensor(gap)), batch_size=100)
    torch.testing.assert_close(fit(one.model, loader, EM()).bounds[-1], one.bounds[-1], rtol=1e-8, atol=0)
    torch.testing.assert_close(one.model.impute(gap).values, one.model.impute(torch.as_tensor(gap)).values)
    held = fit(GaussianMixture(2, 2), FAITHFUL[:200], EM(), validation=gap[200:])
    assert held.held_out.isfinite().all()


def test_missing_words():
    words = {"a": ["x", None, "y", "x", "y", "x"], "b": ["u", "v", "u", None, "v", "u"]}
    x = pd.DataFrame({name: pd.Categorical(column) for name, column in words.items()})
    model = fit(Mixture(Categorical(1, [2, 2])), x, EM(tol=1e-14)).model
    np.testing.assert_allclose(model.family.probs[0].detach(), [[3 / 5, 2 / 5], [3 / 5, 2 / 5]], atol=1e-6)


def test_float32_keeps_its_gaps():
    gap = torn(FAITHFUL, 0.2)
    one, other = (fit(GaussianMixture(2, 2), gap.astype(kind), EM()) for kind in (np.float64, np.float32))
    torch.testing.assert_close(one.bounds[-1], other.bounds[-1], rtol=1e-5, atol=0)


def test_starts_are_seeded_and_whole_tables_start_as_before():
    gap = torn(IRIS, 0.3)
    a, b = (seed(GaussianMixture(3, 4), gap, 5) for _ in range(2))
    assert torch.equal(a.family.loc, b.family.loc)
    state = torch.random.get_rng_state()
    seed(GaussianMixture(3, 4), gap, 5)
    assert torch.equal(state, torch.random.get_rng_state())


def test_many_rows_are_sampled_for_the_start(monkeypatch):
    monkeypatch.setattr("lowerbound.data.row_reader.SAMPLE_ROWS", 50)
    found = fit(GaussianMixture(2, 2), torn(FAITHFUL, 0.2), EM(), max_passes=5)
    assert found.bounds.isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KMeans(2, 2), "row 1, column 0 holds NaN, expected finite numbers"),
        (lambda: Mixture(Multinomial(2, 2)), "row 1, column 0 holds NaN, expected finite numbers"),
        (lambda: Mixture(FamilyOf(dist.Dirichlet, 2, 2)), "row 1, column 0 holds NaN, expected finite numbers"),
    ],
)
def test_models_that_take_none_say_so(make, message):
    with pytest.raises(ValueError, match=message):
        fit(make(), torn(np.ones((20, 2))), EM())


@pytest.mark.drawn(1)
@pytest.mark.parametrize("kind", [Mixture, BayesianMixture])
def test_a_part_that_takes_none_says_so(kind):
    """The other part is filled in as it would be by itself: here z is independent of it."""
    model = kind(Product(Gaussian(2, 1), Multinomial(2, 2)))
    x = np.column_stack([np.arange(20.0), np.tile([3.0, 4.0], (20, 1))])
    x[3, 0] = np.nan
    result = fit(model, x, EM(), max_passes=3)
    assert result.bounds.isfinite().all()
    filled, drawn = result.model.impute(x), result.model.draw_missing(x, 2, seed=0)
    x_observed = np.delete(x, 3, 0)
    for values in (filled.values, *drawn):
        np.testing.assert_array_equal(np.delete(values.numpy(), 3, 0), x_observed)
        assert values.isfinite().all()
    expected = result.model.posterior(x[3:4]).probs @ result.model.family.moments().mean[:, 0]
    torch.testing.assert_close(filled.values[3, 0], expected[0])
    assert (filled.uncertainty[3] > 0).tolist() == [True, False, False]
    assert compare(x, one=result).plot()
    matplotlib.pyplot.close("all")
    check_model(model, x)
    x[5, 2] = np.nan
    with pytest.raises(ValueError, match=r"row 5, column 2 holds nan, expected in column 0 .*; in columns 1, 2 counts"):
        fit(model, x, EM())


def test_rows_without_gaps_come_back_as_they_are():
    """Also from a family that takes no missing values."""
    x = np.tile([3.0, 4.0], (5, 1))
    filled = fit(Mixture(Multinomial(1, 2)), x, EM(), max_passes=2).model.impute(x)
    np.testing.assert_array_equal(filled.values, x)
    assert (filled.uncertainty == 0).all()
    check_family(Product(Gaussian(1, 1), Multinomial(1, 2)), np.column_stack([np.arange(5.0), x]))


def test_columns_without_any_value_and_infinite_cells():
    gap = torn(FAITHFUL, 0.2)
    gap[:, 1] = np.nan
    with pytest.raises(ValueError, match="column 1 has no value in any row, expected some: drop the column"):
        fit(GaussianMixture(2, 2), gap, EM())
    with pytest.raises(ValueError, match=r"column 1 \('waiting'\) has no value"):
        fit(GaussianMixture(2, 2), pd.DataFrame(gap, columns=["eruptions", "waiting"]), EM())
    weights = np.ones(len(gap))
    gap = FAITHFUL.copy()
    gap[10:, 1], weights[:10] = np.nan, 0
    with pytest.raises(ValueError, match="column 1 has no value"):
        fit(GaussianMixture(2, 2), gap, EM(), weights=weights)
    gap = torn(FAITHFUL, 0.2)
    gap[7, 0] = np.inf
    with pytest.raises(ValueError, match="row 7, column 0 holds an infinite value"):
        fit(GaussianMixture(2, 2), gap, EM())
    with pytest.raises(ValueError, match="row 4, column 0 holds -2, expected counts"):
        fit(Mixture(Poisson(1, 1)), np.array([[1.0], [np.nan], [3], [4], [-2]]), EM())


def test_a_user_family_takes_missing_cells_by_two_lines():
    class Rates(TakesMissing):
        def __init__(self, components, features):
            super().__init__()
            ones = torch.ones(components, features, dtype=torch.float64)
            self.rate = PyroParam(ones, constraints.positive)

        def component(self, z=...):
            return dist.Poisson(self.rate[z]).to_event(1)

        def statistics(self, x):
            return x

        def match(self, mean):
            self.rate = mean

        def expected_statistics(self):
            return self.rate

    x = torn(TABLE["poisson"].data(90)[0])
    own, ours = (fit(Mixture(family), x, EM()) for family in (Rates(2, 2), Poisson(2, 2)))
    torch.testing.assert_close(own.bounds, ours.bounds)


def test_labels_and_zero_weights_of_torn_rows():
    gap = torn(FAITHFUL, 0.2)
    weights = np.ones(len(gap))
    gap[3], weights[3] = [1e300, np.nan], 0
    found = fit(GaussianMixture(2, 2), gap, EM(), weights=weights, labels=np.where(FAITHFUL[:, 0] > 3, 1, -1))
    kept = np.delete(gap, 3, 0), np.delete(np.where(FAITHFUL[:, 0] > 3, 1, -1), 3)
    assert float(found.bounds[-1]) == pytest.approx(
        float(fit(GaussianMixture(2, 2), kept[0], EM(), labels=kept[1]).bounds[-1]), abs=1e-7
    )


@pytest.mark.parametrize(
    "family",
    [StudentT(2, 2), Gaussian(2, 2, "tied"), Gamma(2, 2), FamilyOf(dist.Weibull, 2, 2)],
    ids=lambda f: type(f).__name__,
)
def test_check_family_knows_missing_cells(family):
    x = data(80, 2) if isinstance(family, (StudentT, Gaussian)) else TABLE["gamma"].data(80)[0]
    check_family(family, x)


def test_check_family_finds_a_wrong_expectation():
    class Wrong(Poisson):
        def expected_statistics(self):
            return 3 * self.rate

    with pytest.raises(ValueError, match=r"of the observed values .*or expected_statistics|still has a slope"):
        check_family(Wrong(2, 2), TABLE["poisson"].data(80)[0])

    class Alone(Poisson):
        def marginal(self, x):
            return self.log_prob(x.nan_to_num(nan=0.0))

    with pytest.raises(ValueError, match="a row without any observed value has log density"):
        check_family(Alone(2, 2), TABLE["poisson"].data(80)[0])


def test_a_family_without_a_mean_is_filled_by_draws_only():
    x = torn(data(60, 1), 0.2)
    model = fit(Mixture(FamilyOf(dist.Cauchy, 1, 1)), x, EM(), max_passes=20).model
    with pytest.raises(ValueError, match=r"column 0 has no mean under FamilyOf, expected one .* draw_missing"):
        model.impute(x)
    assert model.draw_missing(x, 3, seed=0).isfinite().all()


def test_tails_too_heavy_for_a_variance_are_infinitely_uncertain():
    model = Mixture(StudentT(2, 1, dof=1.5))
    model.weights, model.family.loc, model.family.scale_tril = [0.5, 0.5], [[0.0], [4.0]], torch.ones(2, 1, 1)
    filled = model.impute([[float("nan")], [1.0]])
    assert filled.values.flatten().tolist() == [2.0, 1.0]
    assert filled.uncertainty.flatten().tolist() == [float("inf"), 0.0]


def test_a_group_that_takes_none_is_named_by_expect_too():
    model = Mixture(Product(Gaussian(2, 1), FamilyOf(dist.MultivariateNormal, 2, 2)))
    x = np.random.default_rng(0).standard_normal((40, 3))
    model = fit(model, x, EM(), max_passes=2).model
    x[4, 2] = np.nan
    with pytest.raises(ValueError, match="row 4, column 2 holds nan, expected"):
        model.expect(x)


def test_supports_that_hold_numbers_of_their_own():
    scale = torch.tensor(0.5, dtype=torch.float64)
    x = torn(0.5 + np.random.default_rng(0).exponential(size=(101, 2)), 0.2)
    model = fit(
        Mixture(FamilyOf(dist.Pareto, 2, 2, parameters=["alpha"], fixed={"scale": scale})), x, EM(), max_passes=20
    ).model
    alpha = model.family.alpha.detach().numpy()
    cells = stats.pareto.logpdf(x[:, None], alpha, scale=0.5)
    joint = np.nansum(np.where(np.isnan(x)[:, None], 0, cells), -1) + np.log(model.weights.detach().numpy())
    np.testing.assert_allclose(model.bound(x), logsumexp(joint, axis=1), atol=1e-9)


def test_tails_too_heavy_for_a_mean_are_not_filled():
    model = Mixture(StudentT(1, 2, dof=0.5))
    model.weights, model.family.loc, model.family.scale_tril = [1.0], torch.zeros(1, 2), torch.eye(2)[None]
    with pytest.raises(ValueError, match="column 0 has no mean"):
        model.impute([[float("nan"), float("nan")]])
    assert model.impute([[float("nan"), 1.0]]).values.isfinite().all()

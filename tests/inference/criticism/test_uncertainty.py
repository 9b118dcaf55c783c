"""Standard errors: closed forms, finite differences of a likelihood written out, coverage; and the bootstrap."""

import numpy as np
import pytest
import torch
from families import TABLE
from pyro.distributions import Gamma
from scipy import stats
from scipy.special import logsumexp

from lowerbound import datasets
from lowerbound.inference import EM, bootstrap, fit, standard_errors
from lowerbound.inference.criticism.bootstrap import resample_weights
from lowerbound.inference.criticism.named_parameters import count_coordinates, parameters_of
from lowerbound.models import (
    PPCA,
    BernoulliMixture,
    CategoricalMixture,
    ExponentialMixture,
    GaussianMixture,
    KMeans,
    Mixture,
    Poisson,
    PoissonMixture,
    Rows,
    StudentTMixture,
)

TIGHT = EM(tol=1e-13)


def two_clusters(n=300, seed=0, far=5.0):
    """n rows (n, 1) of N(0, 1) and N(far, 1.5^2), .4 and .6 of them."""
    rng = np.random.default_rng(seed)
    z = rng.random(n) < 0.6
    return np.where(z, rng.normal(far, 1.5, n), rng.normal(0, 1, n))[:, None]


# one component: closed forms


def test_a_gaussian_has_the_errors_of_the_textbook():
    x = np.random.default_rng(0).standard_normal((80, 3)) @ np.array([[1, 0.5, 9], [0, 2, 1], [0, 0, 0.01]]) + 7
    fitted = fit(GaussianMixture(1, 3), x, EM())
    found = standard_errors(fitted, x, of={"covariance": lambda m: m.family.scale_tril @ m.family.scale_tril.mT})
    covariance = np.cov(x.T, bias=True)
    np.testing.assert_allclose(found["family.loc"][0], np.sqrt(covariance.diagonal() / 80), rtol=1e-8)
    variance = (np.outer(covariance.diagonal(), covariance.diagonal()) + covariance**2) / 80  # Wishart
    np.testing.assert_allclose(found["covariance"][0], np.sqrt(variance), rtol=1e-7)
    assert found["weights"].tolist() == [0.0]  # of one component it is 1, and the entries above the diagonal are 0
    assert len(found.frame()) == 3 + 6 + 9 and (found["family.scale_tril"][0].triu(1) == 0).all()


def test_standard_deviations_counts_and_waits():
    rng = np.random.default_rng(1)
    x = rng.normal(5, 2, (50, 1))
    found = standard_errors(fit(GaussianMixture(1, 1, "diag"), x, EM()), x)
    assert float(found["family.scale"]) == pytest.approx(x.std() / np.sqrt(2 * 50), rel=1e-7)
    counts = rng.poisson([2.0, 30.0], (40, 2))
    found = standard_errors(fit(PoissonMixture(1, 2), counts, EM()), counts)
    np.testing.assert_allclose(found["family.rate"][0], np.sqrt(counts.mean(0) / 40), rtol=1e-8)
    waits = rng.exponential(3.0, (40, 1))
    found = standard_errors(fit(ExponentialMixture(1, 1), waits, EM()), waits)
    assert float(found["family.rate"]) == pytest.approx(1 / waits.mean() / np.sqrt(40), rel=1e-8)
    codes = rng.choice(3, (60, 1), p=[0.5, 0.3, 0.2])
    found = standard_errors(fit(CategoricalMixture(1, [3]), codes, EM()), codes)
    share = np.bincount(codes[:, 0]) / 60
    np.testing.assert_allclose(found["family.probs"][0, 0], np.sqrt(share * (1 - share) / 60), rtol=1e-8)


def test_a_prior_is_part_of_the_curvature():
    """Posterior of a rate: Gamma(a + sum x, b + n), whose logarithm has the curvature (a + sum x - 1) / rate^2."""
    x = np.random.default_rng(0).poisson(2.0, (10, 1))
    found = standard_errors(fit(PoissonMixture(1, 1, Gamma(5.0, 1.0)), x, EM()), x)
    mode = (5 + x.sum() - 1) / (1 + 10)
    assert float(found.estimates["family.rate"]) == pytest.approx(mode)
    assert float(found["family.rate"]) == pytest.approx(mode / np.sqrt(5 + x.sum() - 1), rel=1e-8)


def test_components_that_are_known_have_the_errors_of_their_groups():
    x = two_clusters(60, far=2.0)
    labels = (np.arange(60) % 3 > 0).astype(int)
    fitted = fit(GaussianMixture(2, 1, "diag"), x, TIGHT, labels=labels)
    found = standard_errors(fitted, x, labels=labels)
    np.testing.assert_allclose(found["weights"], np.sqrt(1 / 3 * 2 / 3 / 60), rtol=1e-7)
    for j in (0, 1):
        own = x[labels == j]
        assert float(found["family.loc"][j, 0]) == pytest.approx(own.std() / np.sqrt(len(own)), rel=1e-7)


# two components: a likelihood written out, and its second differences


def log_likelihood(p, x):
    weight, first, second, left, right = p
    joint = [
        np.log(weight) + stats.norm(first, left).logpdf(x[:, 0]),
        np.log(1 - weight) + stats.norm(second, right).logpdf(x[:, 0]),
    ]
    return logsumexp(joint, axis=0).sum()


def second_differences(p, x, step=1e-4):
    def moved(i, a, j, b):
        q = np.array(p)
        q[i] += a * step
        q[j] += b * step
        return log_likelihood(q, x)

    signs = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]
    return np.array(
        [[sum(s * moved(i, a, j, b) for a, b, s in signs) for j in range(len(p))] for i in range(len(p))]
    ) / (4 * step**2)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_mixture_has_the_errors_of_its_likelihood_written_out(frozen):
    x = two_clusters(far=3.5)
    fitted = fit(GaussianMixture(2, 1, "diag"), x, TIGHT, max_passes=5000)
    model = fitted.model
    p = [float(model.weights.detach()[0]), *model.family.loc.detach().flatten(), *model.family.scale.detach().flatten()]
    kept = [0, 3, 4] if frozen else [0, 1, 2, 3, 4]
    if frozen:  # known, so that the others are known better
        model.family.loc_unconstrained.requires_grad_(False)
    expected = np.sqrt(np.diag(np.linalg.inv(-second_differences(p, x)[np.ix_(kept, kept)])))
    found = standard_errors(fitted, x)
    assert list(found.errors) == (["weights", "family.scale"] if frozen else ["weights", "family.loc", "family.scale"])
    ours = np.concatenate([found["weights"][:1], *(found[name].flatten() for name in list(found.errors)[1:])])
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert float(found["weights"][1]) == pytest.approx(expected[0], rel=1e-5)


@pytest.mark.parametrize("name", [name for name in TABLE if name != "kmeans"])
def test_every_family_has_as_many_coordinates_as_free_parameters(name):
    model = TABLE[name].set(TABLE[name].model())
    assert count_coordinates(parameters_of(model)) == model.free_parameters()


@pytest.mark.parametrize("name", ["poisson", "student-diag", "gamma"])
def test_weights_are_repeated_rows(name):
    case = TABLE[name]
    x, _ = case.data(150)
    weights = 1 + np.arange(150) % 3
    fitted = fit(case.set(case.model()), x, TIGHT, weights=weights, max_passes=2000)
    found, again = standard_errors(fitted, x, weights), standard_errors(fitted, np.repeat(x, weights, 0))
    for key, error in found.errors.items():
        torch.testing.assert_close(error, again[key], rtol=1e-6, atol=1e-12)


def test_errors_do_not_depend_on_the_order_of_components_or_the_units_of_columns():
    x = datasets.load("faithful").to_numpy()
    fitted = fit(GaussianMixture(2, 2), x, TIGHT)
    plain = standard_errors(fitted, x)
    fitted.model.permute([1, 0])
    torch.testing.assert_close(standard_errors(fitted, x)["family.loc"].flip(0), plain["family.loc"], rtol=1e-6, atol=0)
    scaled = fit(GaussianMixture(2, 2), x * [1e-6, 1e9] + [0, 1e10], TIGHT)
    other = standard_errors(scaled, x * [1e-6, 1e9] + [0, 1e10])
    np.testing.assert_allclose(other["family.loc"].numpy() / [1e-6, 1e9], plain["family.loc"], rtol=1e-4)


# what has no standard error


def test_a_probability_at_its_boundary_has_none_and_the_others_have_theirs():
    x = np.random.default_rng(0).integers(0, 2, (40, 3))
    x[:, 1], x[:, 2] = 0, 1
    found = standard_errors(fit(BernoulliMixture(1, 3), x, EM()), x)
    p = x[:, 0].mean()
    assert float(found["family.probs"][0, 0]) == pytest.approx(np.sqrt(p * (1 - p) / 40), rel=1e-8)
    assert torch.isnan(found["family.probs"][0, 1:]).all()
    assert found.frame()["standard_error"].isna().sum() == 2
    codes = np.random.default_rng(0).choice(3, (40, 1), p=[0.4, 0.6, 0])
    found = standard_errors(fit(CategoricalMixture(1, [3]), codes, EM()), codes)["family.probs"][0, 0]
    p = (codes == 0).mean()
    np.testing.assert_allclose(found[:2], np.sqrt(p * (1 - p) / 40), rtol=1e-7)
    assert torch.isnan(found[2])


def test_latent_classes_with_probabilities_of_0_and_1():
    x = datasets.load("carcinoma")
    fitted = fit(CategoricalMixture(3, [2] * 7), x, EM(), restarts=3)
    found = standard_errors(fitted, x)
    probs = fitted.model.family.probs.detach()
    certain = (probs < 1e-6) | (probs > 1 - 1e-6)
    assert certain.any() and torch.equal(torch.isnan(found["family.probs"]), certain)
    assert (found["weights"] > 0.02).all() and (found["weights"] < 0.08).all()


def test_what_is_no_maximum_or_no_likelihood_is_refused():
    x = datasets.load("faithful")
    with pytest.raises(ValueError, match=r"standard errors away from the nearest maximum|not positive definite"):
        standard_errors(fit(GaussianMixture(2, 2), x, EM(), max_passes=3), x)
    with pytest.raises(ValueError, match=r"standard errors away from the nearest maximum"):
        standard_errors(fit(GaussianMixture(1, 2), x, EM()), x[:200])
    with pytest.raises(ValueError, match=r"12 free numbers, so that some are known up to a rotation"):
        standard_errors(fit(PPCA(4, 2), datasets.load("iris"), EM()), datasets.load("iris"))
    with pytest.raises(TypeError, match=r"the bound of KMeans is below log p\(x\).*use bootstrap"):
        standard_errors(fit(KMeans(2, 2), x, EM()), x)
    twins = GaussianMixture(2, 1, "tied-diag")  # two components in one place: a saddle, or nowhere to tell them apart
    twins.weights, twins.family.loc, twins.family.scale = [0.5, 0.5], [[0.0], [0.0]], [1.0]
    y = np.array([[-1.0], [1.0]] * 20)
    with pytest.raises(ValueError, match=r"the observed information is not positive definite"):
        standard_errors(fit(twins, y, EM()), y)
    with pytest.raises(ValueError, match=r"of has 'weights', expected another name"):
        standard_errors(fit(GaussianMixture(1, 2), x, EM()), x, of={"weights": lambda m: m.weights})


def test_degrees_of_freedom_without_an_end_have_none():
    x = np.linspace(-1, 1, 100)[:, None]  # tails lighter than any t: towards the Gaussian
    fitted = fit(StudentTMixture(1, 1), x, EM())
    assert torch.isnan(standard_errors(fitted, x)["family.dof"]).all()


# coverage


def test_intervals_cover_at_their_rate():
    """Of 40 data sets each of six numbers is missed by at most 7 intervals of 95 %, and all together by at least 2 of
    240: at the nominal rate the first fails in .1 % of all seeds for each number, the second in less than .1 %."""
    missed = np.zeros(6, dtype=int)
    truth = [0.4, 0.6, 0.0, 6.0, 1.0, 1.5]
    for seed in range(40):
        x = two_clusters(200, seed, far=6.0)
        fitted = fit(GaussianMixture(2, 1, "diag"), x, EM())
        fitted.model.permute(fitted.model.family.loc[:, 0].argsort())
        table = standard_errors(fitted, x).frame()
        missed += ((truth < table["lower"]) | (table["upper"] < truth)).to_numpy()
    assert missed.max() <= 7 and missed.sum() >= 2


# the bootstrap


def test_the_bootstrap_of_a_mean_is_the_one_of_the_textbook():
    """The standard deviation of 100 draws is known to 7 %: within 4 of its errors but for .01 % of all seeds."""
    x = two_clusters(50)
    fitted = fit(GaussianMixture(1, 1), x, EM())
    found = bootstrap(fitted, x, 100)
    assert float(found["family.loc"]) == pytest.approx(x.std() / np.sqrt(50), rel=0.28)
    assert found.draws["family.loc"].shape == (100, 1, 1) and found.failures == () and found.unconverged == 0
    lower, upper = found.interval("family.loc", 0.9)
    np.testing.assert_allclose(lower, np.quantile(found.draws["family.loc"], 0.05, axis=0), rtol=1e-12)
    assert float(lower) < x.mean() < float(upper)
    for wrong in ("x", None, True, 95):
        with pytest.raises(ValueError, match=r"level is .*, expected a probability such as 0.95"):
            found.interval("family.loc", wrong)
    row = found.frame(0.9).loc["family.loc[0, 0]"]
    assert [row["lower"], row["upper"]] == [float(lower), float(upper)]
    assert "weights[0]" not in found.frame().index and "100 resamples" in str(found)


def test_the_bootstrap_of_a_mixture_agrees_with_the_information():
    """Far apart, with 40 resamples whose standard deviation is known to 11 %; the two differ by sampling of their own.
    Labels do not switch: no draw of a mean is nearer to the other component."""
    x = two_clusters(300)
    fitted = fit(GaussianMixture(2, 1, "diag"), x, EM())
    found, expected = bootstrap(fitted, x, 40, seed=3), standard_errors(fitted, x)
    for name, error in expected.errors.items():
        np.testing.assert_allclose(found[name], error, rtol=0.45)
    means = fitted.model.family.loc.detach()
    assert (found.draws["family.loc"] - means).abs().max() < (means[0] - means[1]).abs() / 2


def test_resamples_are_of_rows_as_often_as_they_count():
    weights = np.array([0, 1, 2, 5, 0.5])
    rows = Rows(np.zeros((5, 1)), weights)
    draws = np.stack([resample_weights(rows, np.random.default_rng(seed)) for seed in range(2000)])
    np.testing.assert_allclose(draws.sum(1), 8.5)
    assert (draws[:, 0] == 0).all()
    variance = 8 * (weights / 8.5) * (1 - weights / 8.5) * (8.5 / 8) ** 2  # of a multinomial of 8, scaled
    assert (np.abs(draws.mean(0) - weights) <= 4 * np.sqrt(variance / 2000)).all()
    plain = resample_weights(Rows(np.zeros((6, 1))), np.random.default_rng(0)).numpy()
    assert plain.sum() == 6 and (plain == plain.round()).all()


def test_the_same_seed_gives_the_same_draws_and_leaves_no_trace():
    x = two_clusters(60)
    fitted = fit(GaussianMixture(2, 1), x, EM())
    before = torch.random.get_rng_state()
    a, b, c = (bootstrap(fitted, x, 5, seed=seed).draws["family.loc"] for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_repeats_that_degenerate_are_counted_and_told():
    """A component of three rows: a resample has fewer than three of them in two of three cases, and is singular."""
    x = np.concatenate([np.random.default_rng(0).normal(size=(60, 2)), [[9.0, 9.0], [9.5, 9.0], [9.0, 9.7]]])
    labels = np.repeat([0, 1], [60, 3])
    fitted = fit(GaussianMixture(2, 2), x, EM(), labels=labels)
    found = bootstrap(fitted, x, 40, labels=labels)
    done = len(found.draws["weights"])
    assert 0 < done < 40 and len(found.failures) == 40 - done
    assert f"{40 - done} more degenerated and are left out, such as: " in str(found)
    with pytest.raises(ValueError, match=r"repeats is 1, expected a whole number of at least 2"):
        bootstrap(fitted, x, 1)


def test_components_that_labels_or_frozen_parameters_name_are_not_relabelled():
    """Two components alike: resamples would swap them, were they not named. The draws are those of the group means."""
    rng = np.random.default_rng(0)
    y, labels = rng.standard_normal((200, 1)), np.arange(200) % 2
    fitted = fit(GaussianMixture(2, 1, "spherical"), y, EM(), labels=labels)
    found = bootstrap(fitted, y, repeats=30, labels=labels, seed=1).draws["family.loc"][..., 0]
    random, rows = np.random.default_rng(1), Rows(y, None, labels)
    for draw in found:
        w = resample_weights(rows, random).numpy()
        means = [np.average(y[labels == k, 0], weights=w[labels == k]) for k in (0, 1)]
        np.testing.assert_allclose(draw, means, atol=1e-9)


def test_nothing_to_resample_where_all_is_frozen():
    x = np.random.default_rng(0).standard_normal((30, 1))
    fitted = fit(fit(GaussianMixture(1, 1), x, EM()).model.freeze("weights", "family"), x, EM())
    with pytest.raises(ValueError, match="every parameter of the fit is frozen, expected some that vary"):
        bootstrap(fitted, x, repeats=3)
    with pytest.raises(ValueError, match=r"0 parameters that are not frozen.*thaw some"):
        standard_errors(fitted, x)


def test_rows_of_another_fit_are_refused():
    x = datasets.load("faithful").to_numpy()
    fitted = fit(GaussianMixture(2, 2), x, EM())
    for other in (x[:100], x[:, ::-1].copy()):
        with pytest.raises(ValueError, match=r"the fit ended at -4\.155\d+ nats per row and has .* on these rows"):
            bootstrap(fitted, other, repeats=3)


def test_functions_without_a_gradient_are_refused():
    """Their error is not 0."""
    made = fit(GaussianMixture(1, 1), np.arange(9.0)[:, None], EM())
    with pytest.raises(
        ValueError, match=r"^first has no gradient in the parameters that are not frozen, expected [^.]*"
    ):
        standard_errors(made, np.arange(9.0)[:, None], of={"first": lambda m: m.family.loc.detach()})
    found = standard_errors(made, np.arange(9.0)[:, None], of={"first": lambda m: m.family.loc[0]})
    np.testing.assert_allclose(found["first"], found["family.loc"][0])


def test_resamples_of_a_model_without_permute_are_not_aligned():
    class Fixed(Mixture):
        permute = None

    x = np.array([[0.0], [1.0], [2.0], [9.0], [11.0], [12.0]])
    found = bootstrap(fit(Fixed(Poisson(2, 1)), x, EM()), x, repeats=3)
    assert found.draws["family.rate"].shape == (3, 2, 1)

"""Components of any distribution, held to the families with a closed M-step, and to scipy's maximum likelihood."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import optimize, stats

from lowerbound.inference import EM, fit
from lowerbound.models import Bernoulli, Exponential, FamilyOf, Gamma, Gaussian, Mixture, Poisson, StudentT, seed

RNG = np.random.default_rng(0)
N = 100


def pair(draw, first, second):
    """N rows of one and N of another."""
    return np.concatenate([draw(*first), draw(*second)]).astype(float)


def column(name, *arguments):
    return getattr(RNG, name)(*arguments, (N, 1))


NORMAL = pair(RNG.normal, (0, 1, (N, 2)), (4, 0.5, (N, 2)))
SAME = {  # a distribution, the family with a closed M-step, data
    "Normal": (lambda: Gaussian(2, 2, "diag"), NORMAL),
    "Poisson": (lambda: Poisson(2, 2), pair(RNG.poisson, (2, (N, 2)), (9, (N, 2)))),
    "Bernoulli": (lambda: Bernoulli(2, 4), pair(RNG.binomial, (1, 0.2, (N, 4)), (1, 0.8, (N, 4)))),
    "Exponential": (lambda: Exponential(2, 2), pair(RNG.exponential, (1, (N, 2)), (20, (N, 2)))),
    "Gamma": (lambda: Gamma(2, 2), pair(RNG.gamma, (2, 1, (N, 2)), (20, 1, (N, 2)))),
    "MultivariateNormal": (lambda: Gaussian(2, 2), NORMAL),
}
TWO = {  # no closed M-step: two groups of rows
    "Weibull": np.concatenate([RNG.weibull(2, (N, 1)), 10 * RNG.weibull(5, (N, 1))]),
    "Gumbel": pair(RNG.gumbel, (0, 1, (N, 1)), (8, 2, (N, 1))),
    "VonMises": pair(RNG.vonmises, (0, 4, (N, 1)), (2.5, 8, (N, 1))),
    "Beta": pair(RNG.beta, (2, 8, (N, 1)), (9, 3, (N, 1))),
    "LogNormal": pair(RNG.lognormal, (0, 1, (N, 1)), (3, 0.5, (N, 1))),
    "StudentT": np.concatenate([RNG.standard_t(3, (N, 1)), 10 + RNG.standard_t(4, (N, 1))]),
    "Dirichlet": np.concatenate([RNG.dirichlet([2, 3, 8], N), RNG.dirichlet([9, 3, 1], N)]),
    "MultivariateNormal": NORMAL,
}


def mixture(name, k, d, **settings):
    return Mixture(FamilyOf(getattr(dist, name), k, d, **settings))


@pytest.mark.parametrize("name", SAME)
def test_where_the_m_step_is_closed_both_end_at_one_optimum(name):
    make, x = SAME[name]
    closed = fit(Mixture(make()), x, EM(tol=1e-10))
    scored = fit(mixture(name, 2, x.shape[1]), x, EM(tol=1e-10))
    assert float(scored.bounds[-1]) == pytest.approx(float(closed.bounds[-1]), abs=1e-6)
    np.testing.assert_allclose(scored.model.weights.detach(), closed.model.weights.detach(), atol=1e-3)
    closed_z, scored_z = (f.model.posterior(x).probs for f in (closed, scored))
    np.testing.assert_allclose(scored_z, closed_z, atol=1e-2)
    assert scored.model.free_parameters() == closed.model.free_parameters()


SCIPY = {  # scipy's log density at our parameters' unconstrained coordinates, and a start
    "Weibull": lambda t: stats.weibull_min(np.exp(t[1]), scale=np.exp(t[0])),
    "Gumbel": lambda t: stats.gumbel_r(t[0], np.exp(t[1])),
    "VonMises": lambda t: stats.vonmises(np.exp(t[1]), loc=t[0]),
    "Beta": lambda t: stats.beta(np.exp(t[0]), np.exp(t[1])),
    "LogNormal": lambda t: stats.lognorm(np.exp(t[1]), scale=np.exp(t[0])),
    "StudentT": lambda t: stats.t(np.exp(t[2]), t[0], np.exp(t[1])),
    "Dirichlet": lambda t: stats.dirichlet(np.exp(t)),
    "MultivariateNormal": lambda t: stats.multivariate_normal(
        t[:2], np.array([[np.exp(2 * t[2]), np.exp(t[2]) * t[3]], [np.exp(t[2]) * t[3], t[3] ** 2 + np.exp(2 * t[4])]])
    ),
}
NUMBERS = {"StudentT": 3, "Dirichlet": 3, "MultivariateNormal": 5}


def best_of_scipy(name, x):
    """The maximum of the mean log density, by BFGS on scipy's."""
    rows = x if name == "MultivariateNormal" else x.T if name == "Dirichlet" else x[:, 0]
    method = "logpdf"
    found = optimize.minimize(
        lambda t: -getattr(SCIPY[name](t), method)(rows).mean(), np.full(NUMBERS.get(name, 2), 0.1), method="BFGS",
        options={"gtol": 1e-8},
    )  # fmt: skip
    return -found.fun


@pytest.mark.parametrize("name", SCIPY)
def test_one_component_is_scipys_maximum_likelihood(name):
    x = TWO[name][:N]
    result = fit(mixture(name, 1, x.shape[1]), x, EM(tol=1e-12))
    assert float(result.bounds[-1]) == pytest.approx(best_of_scipy(name, x), abs=1e-8)
    family = result.model.family
    if name == "Weibull":
        shape, _, scale = stats.weibull_min.fit(x[:, 0], floc=0)
        np.testing.assert_allclose([family.concentration.item(), family.scale.item()], [shape, scale], rtol=1e-4)
    if name == "Gumbel":
        np.testing.assert_allclose(
            [family.loc.item(), family.scale.item()], stats.gumbel_r.fit(x), rtol=1e-4, atol=1e-5
        )
    if name == "LogNormal":  # closed: moments of the logarithms
        np.testing.assert_allclose(
            [family.loc.item(), family.scale.item()], [np.log(x).mean(), np.log(x).std()], rtol=1e-4
        )


@pytest.mark.parametrize("prior", [None, "weak"])
@pytest.mark.parametrize("name", TWO)
def test_the_bound_never_falls_and_ends_where_its_gradient_is_zero(name, prior):
    x = TWO[name]
    result = fit(mixture(name, 2, x.shape[1], prior=prior), x, EM(tol=1e-10))
    assert len(result.bounds) > 3
    assert result.bounds.diff().min() >= -1e-10 * (1 + result.bounds.abs().max())
    assert result.converged
    assert result.gradient_norm < 1e-4
    labels = np.repeat([0, 1], N)
    agree = (result.model.posterior(x).probs.argmax(1).numpy() == labels).mean()
    assert max(agree, 1 - agree) > 0.8  # it found the two groups, not just a zero gradient
    alone = fit(mixture(name, 1, x.shape[1]), x, EM(tol=1e-6))
    assert result.model.bound(x).mean() > alone.bounds[-1] + 0.01


@pytest.mark.parametrize("unit", [1e-6, 1e6])
@pytest.mark.parametrize("prior", [None, "weak"])
@pytest.mark.parametrize("name", ["Weibull", "Gumbel", "LogNormal", "MultivariateNormal", "StudentT"])
def test_units_change_nothing(name, unit, prior):
    """log p of c x is log p of x less log c for each column; the weak prior moves along."""
    x = TWO[name]
    if name == "StudentT":  # one t for both groups has df = infinity, a centre of a weak prior to no digits
        prior = None
    plain, other = (fit(mixture(name, 2, x.shape[1], prior=prior), y, EM(tol=1e-10)) for y in (x, unit * x))
    assert float(other.bounds[-1]) + x.shape[1] * np.log(unit) == pytest.approx(float(plain.bounds[-1]), abs=2e-8)
    np.testing.assert_allclose(other.model.posterior(unit * x).probs, plain.model.posterior(x).probs, atol=1e-3)


def test_columns_of_very_different_units():
    """A covariance of condition 1e18 in raw units is one of 10 in its own."""
    x, unit = NORMAL @ np.array([[1.0, 0.9], [0.0, 0.5]]), np.array([1e-4, 1e5])
    closed = fit(Mixture(Gaussian(2, 2)), x, EM(tol=1e-10))
    other = fit(mixture("MultivariateNormal", 2, 2), x * unit, EM(tol=1e-10))
    assert float(other.bounds[-1]) + np.log(unit).sum() == pytest.approx(float(closed.bounds[-1]), abs=1e-6)


FAR = {
    "Normal": dict(loc=[[100.0], [-50.0]], scale=[[0.1], [5.0]]),
    "Gumbel": dict(loc=[[-30.0], [0.0]], scale=[[1.0], [0.5]]),
    "Weibull": dict(scale=[[0.01], [100.0]], concentration=[[0.1], [3.0]]),
    "Gamma": dict(rate=[[100.0], [1.0]], concentration=[[100.0], [1.0]]),
    "Poisson": dict(rate=[[1e3], [1e-3]]),
    "Beta": dict(concentration0=[[0.01], [1.0]], concentration1=[[100.0], [0.1]]),
}


@pytest.mark.parametrize("name", FAR)
def test_a_start_far_away_still_climbs_to_the_top(name):
    """Within a tenth of a nat per row of the better of the fits from the data; many steps are too long on the way."""
    x = {**{n: d for n, (_, d) in SAME.items()}, **TWO}[name][:, :1]
    model = mixture(name, 2, 1)
    model.weights = [0.5, 0.5]
    for parameter, value in FAR[name].items():
        setattr(model.family, parameter, value)
    result = fit(model, x, EM(tol=1e-8), max_passes=300)
    own = fit(mixture(name, 1, 1), x, EM(tol=1e-8))
    assert result.bounds[0] < own.bounds[-1] - 1
    assert result.bounds.diff().min() >= -1e-10 * (1 + result.bounds.abs().max())
    assert result.bounds[-1] > own.bounds[-1] - 1e-4


def test_the_guard_shortens_a_step_that_is_too_long():
    """A full step of the M-step would lower the bound; the engine's is shorter, and raises it."""
    x = TWO["Gumbel"][:N]
    model = mixture("Gumbel", 1, 1)
    model.weights, model.family.loc, model.family.scale = [1.0], [[6.0]], [[4.0]]
    before = model.bound(x).mean()
    result = fit(model, x, EM(), max_passes=2)
    found = False
    for loc in np.linspace(-8, 8, 9):
        for scale in (0.3, 1.0, 3.0, 9.0):
            model.family.loc, model.family.scale = [[loc]], [[scale]]
            before = float(model.bound(x).mean())
            one = fit(model, x, EM(tol=0.0), max_passes=2)
            model.maximize(model.expect(x))
            full = float(model.bound(x).mean())
            assert one.bounds[1] >= before - 1e-9 * abs(before)
            if not full >= before:
                found = True
                assert one.bounds[1] > before  # a shorter one is uphill
    assert found
    assert result.bounds[1] > result.bounds[0]


def test_a_step_is_scores_over_their_outer_products():
    """Berndt et al. by hand for a normal with known scale, where the score of loc is x - loc."""
    x = NORMAL[:5, :1]
    family = FamilyOf(dist.Normal, 1, 1, parameters=["loc"], fixed={"scale": 1.0})
    family.loc = [[0.3]]
    score = x[:, 0] - 0.3
    total = family.summarize(torch.as_tensor(x), torch.ones(5, 1, dtype=torch.float64))
    np.testing.assert_allclose(total[0], [score.sum(), (score**2).sum()], rtol=1e-12)
    family.maximize(torch.tensor([5.0], dtype=torch.float64), total, 0.5)
    agreement = score.sum() ** 2 / (score**2).sum() / 5
    step = score.sum() / (score**2).sum()
    expected = 0.3 + 0.5 * np.sign(step) * min(2.0, max(abs(step), 2 * agreement**2))
    assert family.loc.item() == pytest.approx(expected, rel=1e-8)


def test_fixed_arguments_are_not_fitted():
    x = pair(RNG.binomial, (10, 0.2, (N, 1)), (10, 0.7, (N, 1)))
    result = fit(mixture("Binomial", 2, 1, fixed={"total_count": 10}), x, EM())
    family = result.model.family
    assert family.names == ("probs",)
    assert result.model.free_parameters() == 3
    np.testing.assert_allclose(family.probs.detach().sort(0).values[:, 0], [0.2, 0.7], atol=5 * np.sqrt(0.25 / 10 / N))
    one = fit(mixture("Binomial", 1, 1, fixed={"total_count": 10}), x, EM(tol=1e-12)).model
    assert one.family.probs.item() == pytest.approx(x.mean() / 10, abs=1e-6)
    expected = stats.binom(10, x.mean() / 10).logpmf(x[:, 0])
    np.testing.assert_allclose(one.bound(x), expected, rtol=1e-5)
    x[3] = 11
    with pytest.raises(ValueError, match="row 3, column 0 holds 11, expected values of a Binomial"):
        fit(mixture("Binomial", 2, 1, fixed={"total_count": 10}), x, EM())


def test_a_prior_by_parameter_is_that_of_map():
    """Normal(0, .1) of a location whose scale is 1: the mean is shrunk as the books have it."""
    x = NORMAL[:20, :1]
    settings = dict(
        parameters=["loc"],
        fixed={"scale": 1.0},
        prior={"loc": dist.Normal(0.0, torch.tensor(0.1, dtype=torch.float64))},
    )
    result = fit(mixture("Normal", 1, 1, **settings), x + 3, EM(tol=1e-13))
    shrunk = (x + 3).sum() / (20 + 100)
    assert result.model.family.loc.item() == pytest.approx(shrunk, rel=1e-5)
    expected = stats.norm(shrunk, 1).logpdf(x + 3).sum() + stats.norm(0, 0.1).logpdf(shrunk)
    assert float(result.bounds[-1]) * 20 == pytest.approx(expected, rel=1e-9)
    assert result.bounds.diff().min() >= -1e-11


def test_a_weak_prior_needs_data_and_keeps_a_component_off_a_single_value():
    """Rows of one value over and over: without a prior the scale goes to 0 there."""
    x = np.concatenate([np.full((30, 1), 7.0), NORMAL[:60, :1]])
    result = fit(mixture("Normal", 2, 1, prior="weak"), x, EM(), max_passes=12)
    assert result.model.family.scale.min() > 1e-3
    assert result.bounds.diff().min() >= -1e-10
    with pytest.raises(ValueError, match="this model has not seen"):
        mixture("Normal", 2, 1, prior="weak").global_term()


def test_a_univariate_t_is_the_student_family():
    x = TWO["StudentT"][:N]
    ours = fit(Mixture(StudentT(1, 1)), x, EM(tol=1e-12))
    other = fit(mixture("StudentT", 1, 1), x, EM(tol=1e-12))
    assert float(other.bounds[-1]) == pytest.approx(float(ours.bounds[-1]), abs=1e-8)


def test_relabelling_moves_units_along():
    x = TWO["Gumbel"]
    for name in ("Gumbel", "StudentT", "MultivariateNormal"):
        x = TWO[name]
        model = seed(mixture(name, 2, x.shape[1], prior="weak"), x)
        before, term = model.family.log_prob(torch.as_tensor(x)).detach(), model.global_term()
        model.permute([1, 0])
        torch.testing.assert_close(model.family.log_prob(torch.as_tensor(x)).detach(), before[:, [1, 0]])
        torch.testing.assert_close(model.global_term(), term)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: FamilyOf(dist.Uniform, 2, 1), ValueError, "Uniform has no parameter with a constraint of its own"),
        (lambda: FamilyOf(dist.Normal, 2, 1, ["mu"]), ValueError, "'mu' is no parameter of Normal"),
        (lambda: FamilyOf(dist.Normal, 2, 1, ["loc"]), ValueError, "cannot be made of parameters loc and fixed"),
        (lambda: FamilyOf(dist.Normal, 2, 1, fixed={"sigma": 1.0}), ValueError, "fixed sigma, expected all"),
        (lambda: FamilyOf(dist.Binomial, 2, 1), ValueError, "'total_count' is no parameter .* give it in fixed"),
        (lambda: FamilyOf(dist.Categorical, 2, 2), ValueError, r"rows of shape \(\), expected \(2,\)"),
        (lambda: FamilyOf(torch.distributions.Normal, 2, 1), TypeError, "expected one of pyro.distributions"),
        (lambda: FamilyOf(int, 2, 1), TypeError, "expected one of pyro.distributions"),
        (lambda: FamilyOf(dist.Normal(0.0, 1.0), 2, 1), TypeError, "expected one of pyro.distributions"),
        (lambda: FamilyOf(dist.Normal, 2, 1, prior="strong"), ValueError, "prior is 'strong'"),
        (lambda: FamilyOf(dist.Normal, 2, 1, prior={"mu": dist.Normal(0, 1)}), ValueError, "prior for 'mu'"),
        (lambda: FamilyOf(dist.Normal, 0, 1), ValueError, "components is 0"),
    ],
)
def test_what_is_no_family(make, error, says, as_users_run_it):
    with pytest.raises(error, match=says):
        make()


def share_rows(last):
    rng = np.random.default_rng(1)
    return np.r_[rng.beta(2, 5, 150), rng.beta(8, 2, 150), last][:, None]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_rows_on_the_boundary_of_the_support_are_named(value):
    """A Beta has density 0 or infinity there: one such row would decide the fit by itself."""
    with pytest.raises(ValueError, match=r"row 300, column 0 holds .*, expected values of a Beta inside"):
        fit(Mixture(FamilyOf(dist.Beta, 2, 1)), share_rows(value), EM())
    assert fit(Mixture(FamilyOf(dist.Beta, 2, 1)), share_rows(0.5), EM()).converged


def test_which_distributions_have_no_density_on_their_boundary():
    """scipy: the densities at 0 of two members of each."""
    found = {d: FamilyOf(d, 1, 2).boundary for d in (dist.Beta, dist.Gamma, dist.Dirichlet, dist.Exponential)}
    assert found == {dist.Beta: (0.0, 1.0), dist.Gamma: (0.0,), dist.Dirichlet: (0.0, 1.0), dist.Exponential: ()}
    assert [float(stats.gamma.pdf(0, a)) for a in (0.5, 2.0)] == [np.inf, 0.0]


@pytest.mark.parametrize("distribution", [dist.Laplace, dist.Cauchy, dist.Normal, dist.Gumbel])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_constant_column_has_no_maximum(distribution, value):
    with pytest.raises(ValueError, match="column 0 has the same value in every row"):
        fit(Mixture(FamilyOf(distribution, 1, 1)), np.full((50, 1), value), EM())


def test_a_component_on_equal_rows_collapses():
    """Also where its mean is 0, and where it has no variance."""
    for distribution in (dist.Laplace, dist.Cauchy):
        family = FamilyOf(distribution, 2, 1)
        family.loc, family.scale = [[0.0], [1.0]], [[1e-7], [1.0]]
        assert family.collapsed(torch.tensor([0.5, 0.5]).double()).tolist() == [True, False]


def test_a_step_along_the_gradient_tells_a_stalled_run():
    """Fifty equal rows: the likelihood has no upper bound, and the steps of scoring stop at a kink far below."""
    x = np.r_[np.full(50, 3.0), np.random.default_rng(0).normal(size=50)][:, None]
    fitted = fit(Mixture(FamilyOf(dist.Laplace, 2, 1)), x, EM())
    assert fitted.gradient_norm > 0.1 and not fitted.converged
    assert fitted.reason.startswith(("not converged", "stopped at"))
    alone = fit(Mixture(FamilyOf(dist.Laplace, 1, 1)), np.r_[x[:30], x[50:]], EM())  # at a kink, and a maximum
    assert alone.converged

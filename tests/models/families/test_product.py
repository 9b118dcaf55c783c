"""Products of families: the same as each family by itself, and the mixed-type mixture that made the data."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from torch.distributions import constraints

from lowerbound.inference import EM, align, fit
from lowerbound.models import (
    Bernoulli,
    Categorical,
    Exponential,
    FamilyOf,
    Gaussian,
    Mixture,
    Poisson,
    Product,
    StudentT,
    seed,
)
from lowerbound.models.families.joint_distribution import JointDistribution

WEIGHTS = np.array([0.45, 0.55])
LOC, SCALE = np.array([[0.0, 0.0], [2.0, 1.0]]), np.array([[1.0, 0.5], [0.7, 1.0]])
RATE = np.array([[2.0], [7.0]])
PROBS = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])


def mixed(n=400, draw=0):
    """Two measurements, a count and a category, and the component that each row is from."""
    rng = np.random.default_rng(draw)
    z = (rng.random(n) > WEIGHTS[0]).astype(int)
    category = (rng.random(n)[:, None] > PROBS[z].cumsum(1)).sum(1)
    x = np.column_stack([LOC[z] + SCALE[z] * rng.standard_normal((n, 2)), rng.poisson(RATE[z]), category])
    return x.astype(float), z


def family(columns=None):
    return Product(Gaussian(2, 2, "diag"), Poisson(2, 1), Categorical(2, [3]), columns=columns)


def truth(columns=None):
    """The mixture that the data are from."""
    model = Mixture(family(columns))
    normal, poisson, categorical = model.family.parts
    model.weights, normal.loc, normal.scale = WEIGHTS, LOC, SCALE
    poisson.rate, categorical.probs = RATE, PROBS[:, None]
    return model


def log_joint(x):
    """log p(x, z = k) at the truth, one scipy density for each column."""
    return np.stack(
        [
            np.log(WEIGHTS[k])
            + stats.norm(LOC[k], SCALE[k]).logpdf(x[:, :2]).sum(1)
            + stats.poisson(RATE[k]).logpmf(x[:, 2])
            + np.log(PROBS[k][x[:, 3].astype(int)])
            for k in (0, 1)
        ],
        -1,
    )


@pytest.mark.parametrize("columns", [None, [[3, 0], [2], [1]]])
def test_the_density_is_the_product_of_scipys(columns):
    x, _ = mixed(50)
    expected = log_joint(x)
    y = x
    if columns:  # the data's column columns[g][i] is what the i-th column of group g wants
        y = np.empty_like(x)
        y[:, [j for group in columns for j in group]] = x
    model = truth(columns)
    np.testing.assert_allclose(model.bound(y), logsumexp(expected, axis=1), rtol=1e-12)
    np.testing.assert_allclose(model.expect(y).bound, logsumexp(expected, axis=1).sum(), rtol=1e-12)
    share = np.exp(expected - logsumexp(expected, axis=1, keepdims=True))
    np.testing.assert_allclose(model.posterior(y).probs, share, atol=1e-12)
    np.testing.assert_allclose(
        model.family.log_prob(torch.as_tensor(y)).detach(), expected - np.log(WEIGHTS), rtol=1e-12
    )


@pytest.mark.parametrize("draw", [0, 1, 2])
def test_a_mixture_of_mixed_types_is_recovered(draw):
    """Each parameter within 4 of its standard errors were z known, half as much again for not knowing it."""
    n = 3000
    x, _ = mixed(n, draw)
    result = fit(Mixture(family()), x, EM(tol=1e-7), restarts=2)
    model = result.model
    model.permute(align(truth(), model, x))
    rows, allowed = n * WEIGHTS[:, None], 4 * 1.5
    normal, poisson, categorical = model.family.parts
    assert (np.abs(model.weights.detach().numpy() - WEIGHTS) < allowed * np.sqrt(WEIGHTS.prod() / n)).all()
    assert (np.abs(normal.loc.detach().numpy() - LOC) < allowed * SCALE / np.sqrt(rows)).all()
    assert (np.abs(normal.scale.detach().numpy() - SCALE) < allowed * SCALE / np.sqrt(2 * rows)).all()
    assert (np.abs(poisson.rate.detach().numpy() - RATE) < allowed * np.sqrt(RATE / rows)).all()
    error = np.sqrt(PROBS * (1 - PROBS) / rows)
    assert (np.abs(categorical.probs.detach().numpy()[:, 0] - PROBS) < allowed * error).all()
    assert float(result.bounds[-1]) >= logsumexp(log_joint(x), axis=1).mean()  # at least as good as the truth
    assert model.free_parameters() == 1 + 4 + 4 + 2 + 4


RNG = np.random.default_rng(1)
HALVES = (RNG.random(60) < 0.5)[:, None]
CUTS = {
    "gaussian": (lambda d: Gaussian(2, d, "diag"), RNG.standard_normal((60, 4)) + 3 * HALVES),
    "poisson": (lambda d: Poisson(2, d), RNG.poisson(2 + 5 * HALVES, (60, 4)).astype(float)),
    "weak": (lambda d: Poisson(2, d, "weak"), RNG.poisson(2 + 5 * HALVES, (60, 4)).astype(float)),
    "bernoulli": (lambda d: Bernoulli(2, d), (RNG.random((60, 4)) < 0.2 + 0.6 * HALVES).astype(float)),
    "categorical": (lambda d: Categorical(2, [3] * d), RNG.integers(0, 2, (60, 4)) + 1.0 * HALVES),
    "exponential": (lambda d: Exponential(2, d), RNG.exponential(1 + 9 * HALVES, (60, 4))),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", CUTS)
def test_columns_of_one_kind_cut_into_groups_are_that_kind(kind, nested):
    """The same start, the same bounds pass by pass, the same parameters, to rounding: independence is all there is."""
    make, x = CUTS[kind]
    cut = Product(Product(make(1), make(2)), make(1)) if nested else Product(make(1), make(3))
    whole, parts = (fit(Mixture(f), x, EM(tol=0.0), max_passes=8) for f in (make(4), cut))
    assert whole.bounds[-1] > whole.bounds[0]
    np.testing.assert_allclose(parts.bounds, whole.bounds, rtol=1e-10)
    np.testing.assert_allclose(parts.model.posterior(x).probs, whole.model.posterior(x).probs, atol=1e-7)
    assert parts.model.free_parameters() == whole.model.free_parameters()
    np.testing.assert_allclose(parts.model.global_term().detach(), whole.model.global_term().detach(), rtol=1e-9)
    moments = parts.model.family.moments(), whole.model.family.moments()
    np.testing.assert_allclose(moments[0].mean, moments[1].mean, rtol=1e-8)
    np.testing.assert_allclose(moments[0].covariance, moments[1].covariance, rtol=1e-8, atol=1e-12)


def test_columns_in_another_order_are_the_same_model():
    x, _ = mixed(120)
    order = [2, 3, 0, 1]  # the table as someone else has it: count, category, two measurements
    plain = fit(Mixture(family()), x, EM(), max_passes=20)
    other = fit(Mixture(family([[2, 3], [0], [1]])), x[:, order], EM(), max_passes=20)
    np.testing.assert_allclose(other.bounds, plain.bounds, rtol=1e-9)
    table = other.model.summary(["count", "category", "a", "b"])
    assert {"rate of count", "mean of a", "s.d. of b", "P(category = 2)"} <= set(table.columns)
    np.testing.assert_allclose(table["rate of count"], plain.model.summary()["rate of column 2"], rtol=1e-6)


def test_priors_inside_count_once_each_and_keep_the_bound_from_falling():
    x, _ = mixed(80)
    inside = Gaussian(2, 2, "full", "weak"), Poisson(2, 1, "weak"), Categorical(2, [3], "weak")
    result = fit(Mixture(Product(*inside), concentration=2.0), x, EM(tol=1e-12))
    assert result.bounds.diff().min() >= -1e-12
    assert result.gradient_norm < 1e-4
    model = result.model
    term = stats.dirichlet.logpdf(model.weights.detach().numpy(), [2.0, 2.0])
    term += sum(float(part.log_prior().detach()) for part in model.family.parts)
    rates = model.family.parts[1].rate.detach().numpy()  # a half of a row that holds the mean of the data
    mean = x[:, 2].mean()
    by_hand = stats.gamma(1 + mean / 2, scale=2.0).logpdf(rates).sum()
    assert float(model.family.parts[1].log_prior().detach()) == pytest.approx(by_hand, rel=1e-9)
    assert model.global_term().item() == pytest.approx(term, rel=1e-12)


def test_families_of_every_kind_side_by_side():
    """A generalized step beside closed forms: the bound still never falls, and ends at zero gradient."""
    rng = np.random.default_rng(4)
    z = rng.random(150) < 0.5
    x = np.column_stack([rng.gumbel(5 * z, 1), rng.standard_t(3, 150) - 4 * z, rng.poisson(2 + 6 * z)])
    product = Product(FamilyOf(dist.Gumbel, 2, 1), StudentT(2, 1, dof=3.0), Poisson(2, 1))
    assert product.generalized and not family().generalized
    result = fit(Mixture(product), x, EM(tol=1e-8), max_passes=100)
    assert result.bounds.diff().min() >= -1e-10
    assert result.gradient_norm < 1e-3


def test_relabelling_reaches_every_group():
    x, _ = mixed(40)
    model = seed(Mixture(Product(Product(Gaussian(2, 2), Poisson(2, 1)), Categorical(2, [3]))), x)
    before, bound, statistics = model.family.log_prob(torch.as_tensor(x)).detach(), model.bound(x), model.expect(x)
    model.permute([1, 0])
    torch.testing.assert_close(model.family.log_prob(torch.as_tensor(x)).detach(), before[:, [1, 0]])
    torch.testing.assert_close(model.bound(x), bound)
    torch.testing.assert_close(model.expect(x).total, statistics.total[[1, 0]])


def test_a_loop_of_ones_own_trains_it():
    """As in README.md: the bound comes within 3 hundredths of a nat per row of what EM finds."""
    x, _ = mixed(150)
    mine = seed(Mixture(family()), x)
    step = pyro.infer.SVI(mine.model, mine.guide, pyro.optim.Adam({"lr": 0.05}), pyro.infer.Trace_ELBO()).step
    losses = [step(x) for _ in range(120)]
    best = float(fit(Mixture(family()), x, EM()).bounds[-1]) * len(x)
    assert losses[0] > losses[-1]
    assert float(mine.bound(x).sum()) == pytest.approx(best, abs=0.03 * len(x))
    assert float(mine.bound(x).sum()) <= best + 1e-6


def test_side_by_side_is_a_distribution():
    loc, scale, rate = map(torch.tensor, (LOC, SCALE, RATE))
    parts = [dist.Normal(loc, scale).to_event(1), dist.Poisson(rate).to_event(1)]
    joint = JointDistribution(parts, [[2, 0], [1]])
    assert (joint.batch_shape, joint.event_shape) == ((2,), (3,))
    x = torch.tensor([[1.0, 4.0, -1.0]], dtype=torch.float64)  # columns: second measurement, count, first measurement
    by_hand = stats.norm(LOC, SCALE).logpdf([-1.0, 1.0]).sum(1) + stats.poisson(RATE[:, 0]).logpmf(4)
    np.testing.assert_allclose(joint.log_prob(x), by_hand, rtol=1e-12)
    assert joint.expand((5, 2)).log_prob(x).shape == (5, 2)
    assert joint.expand((5, 2)).sample().shape == (5, 2, 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = joint.sample((40_000,)).numpy()
    for column, mean, deviation in (
        (0, LOC[:, 1], SCALE[:, 1]),
        (2, LOC[:, 0], SCALE[:, 0]),
        (1, RATE[:, 0], RATE[:, 0] ** 0.5),
    ):
        assert (np.abs(drawn[:, :, column].mean(0) - mean) < 5 * deviation / 200).all()
        np.testing.assert_allclose(drawn[:, :, column].std(0), deviation, rtol=0.03)
    assert (drawn[:, :, 1] == drawn[:, :, 1].round()).all()
    rows = torch.tensor([[0.5, 3.0, 1.0], [0.5, 3.5, 1.0], [0.5, -1.0, 1.0]]).double()
    assert joint.support.check(rows).tolist() == [True, False, False]
    assert joint.support.event_dim == 1 and not joint.support.is_discrete
    assert JointDistribution(parts[1:], [[0]]).support.is_discrete
    assert isinstance(joint.support, constraints.Constraint)


def test_samples_are_from_the_product():
    """5 standard errors of 40,000 rows, and independence within a component."""
    rows, z = (t.numpy() for t in truth().sample(40_000, seed=1, labels=True))
    for k in (0, 1):
        own = rows[z == k]
        assert (np.abs(own[:, :2].mean(0) - LOC[k]) < 5 * SCALE[k] / np.sqrt(len(own))).all()
        assert (np.abs(np.bincount(own[:, 3].astype(int)) / len(own) - PROBS[k]) < 5 * 0.5 / np.sqrt(len(own))).all()
        off = np.corrcoef(own.T) - np.eye(4)
        assert np.abs(off).max() < 5 / np.sqrt(len(own))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Product(), TypeError, "got nothing, expected families"),
        (lambda: Product(Gaussian(2, 1), dist.Normal), TypeError, "expected families such as"),
        (lambda: Product(Gaussian(2, 1), Poisson(3, 1)), ValueError, r"have \[2, 3\] components"),
        (lambda: Product(Gaussian(2, 2), Poisson(2, 1), columns=[[0, 1]]), ValueError, "each once, in groups of"),
        (lambda: Product(Gaussian(2, 2), Poisson(2, 1), columns=[[0, 1], [1]]), ValueError, "each once"),
        (lambda: Product(Gaussian(2, 2), Poisson(2, 1), columns=[[0, 1], [3]]), ValueError, "each once"),
        (lambda: Product(Gaussian(2, 2), Poisson(2, 1), columns=[[0], [1, 2]]), ValueError, "each once"),
    ],
)
def test_what_is_no_product(make, error, says, as_users_run_it):
    with pytest.raises(error, match=says):
        make()


def test_impossible_cells_are_named_where_they_are_in_the_table():
    x, _ = mixed(30)
    x[7, 2] = -1
    with pytest.raises(ValueError, match=r"row 7, column 2 holds -1, expected .*column 2 counts"):
        fit(Mixture(family()), x, EM())
    x, _ = mixed(30)
    x[:, 1] = 5.0
    with pytest.raises(ValueError, match=r"in the group of columns \[0, 1\]: column 1 has the same value"):
        fit(Mixture(family()), x, EM())

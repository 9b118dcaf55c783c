"""Priors of any kind: MAP against Pyro's tutorial and against penalized EM, and what is refused."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoNormal
from scipy import stats
from scipy.optimize import minimize

from lowerbound.inference import EM, SVI, fit
from lowerbound.models import (
    BayesianMixture,
    Bernoulli,
    Categorical,
    FamilyOf,
    Gamma,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    NegativeBinomial,
    NormalInverseWishart,
    Poisson,
    Product,
    StudentT,
    seed,
)

Y = np.array([[0.0], [1.0], [10.0], [11.0], [12.0]])
FREE = {"loc": dist.Normal(0.0, 10.0), "scale": dist.LogNormal(0.0, 2.0)}


def tutorial(components=2):
    return BayesianMixture(Gaussian(components, 1, "tied-spherical"), FREE, concentration=0.5, guide=AutoDelta)


def read(model):
    order = model.weights.argsort(descending=True)
    loc = model.family.loc.detach()[order, 0]
    return np.array([model.weights[order][0], *loc, model.family.scale.item()])


def by_hand():
    """The maximum of the log joint density, z summed out, by scipy: no Pyro, no torch."""

    def loss(u):
        w, a, b, scale = 1 / (1 + math.exp(-u[0])), u[1], u[2], math.exp(u[3])
        rows = np.logaddexp(np.log(w) + stats.norm.logpdf(Y, a, scale), np.log1p(-w) + stats.norm.logpdf(Y, b, scale))
        prior = stats.beta.logpdf(w, 0.5, 0.5) + stats.norm.logpdf([a, b], 0, 10).sum()
        return -(rows.sum() + prior + stats.lognorm.logpdf(scale, 2.0))

    found = minimize(loss, [0.5, 10.0, 1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-13})
    u = found.x
    return np.array([1 / (1 + math.exp(-u[0])), u[1], u[2], math.exp(u[3])]), -found.fun


def test_em_and_svi_find_the_maximum_of_the_tutorial_of_pyro():
    """Figures: weights .625/.375, locs 10.984462/.498941, scale .6514337 (the tutorial by SVI: 10.984464 and
    .499015)."""
    em = fit(tutorial(), Y, EM())
    found, height = by_hand()
    np.testing.assert_allclose(read(em.model), [0.625, 10.984462, 0.498941, 0.6514337], rtol=0, atol=1e-6)
    np.testing.assert_allclose(read(em.model), found, atol=1e-5)
    assert 5 * em.bounds[-1].item() == pytest.approx(height, abs=1e-6)  # torch has its hyperparameters in float32
    svi = fit(tutorial(), Y, SVI("exact", tol=0.0), max_passes=700)
    np.testing.assert_allclose(read(svi.model), read(em.model), atol=1e-6)


def test_the_bound_of_a_point_is_the_loss_of_the_tutorial_written_out():
    model = fit(tutorial(), Y, EM()).model
    data = torch.as_tensor(Y[:, 0])

    def program():
        weights = pyro.sample("weights", dist.Dirichlet(0.5 * torch.ones(2, dtype=torch.float64)))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
        with pyro.plate("components", 2):
            loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        with pyro.plate("data", len(data)):
            z = pyro.sample("z", dist.Categorical(weights), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(loc[z], scale), obs=data)

    def guide():
        pyro.sample("weights", dist.Delta(model.weights, event_dim=1))
        pyro.sample("scale", dist.Delta(model.family.scale.detach()))
        with pyro.plate("components", 2):
            pyro.sample("loc", dist.Delta(model.family.loc.detach()[:, 0]))

    theirs = -pyro.infer.TraceEnum_ELBO(max_plate_nesting=1).loss(program, guide)
    ours = model.bound(Y).sum() + model.global_term()
    assert ours.item() == pytest.approx(theirs, abs=1e-5)  # their hyperparameters are float32


def test_a_loop_of_pyro_trains_a_point_and_a_guide():
    for make, passes, gained in ((AutoDelta, 40, 0.1), (AutoNormal, 40, 0.5)):
        model = seed(BayesianMixture(Gaussian(2, 1, "tied-spherical"), FREE, 0.5, guide=make), Y, 1)
        before = (model.bound(Y).sum() + model.global_term()).item()
        moved = [parameter.detach().clone() for parameter in model.parameters()]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            optimizer = pyro.optim.Adam({"lr": 0.05})
            step = pyro.infer.SVI(model.model, model.guide, optimizer, pyro.infer.Trace_ELBO()).step
            for _ in range(passes):
                step(Y)
        assert not any(torch.equal(a, b) for a, b in zip(moved, model.parameters(), strict=True))
        assert (model.bound(Y).sum() + model.global_term()).item() > before + gained


def test_weights_that_would_leave_the_simplex_are_an_error():
    with pytest.raises(ArithmeticError, match=r"would leave the simplex: under Dirichlet\(0.5\) its count becomes"):
        fit(tutorial(3), Y, EM())


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "tied-diag", "spherical", "tied-spherical"])
@pytest.mark.parametrize("concentration", [1.0, 2.0])
def test_a_point_under_the_conjugate_prior_is_that_of_penalized_em(faithful, covariance, concentration):
    x = faithful.to_numpy()
    scale = {"diag": np.var(x, 0), "spherical": 10.0}.get(covariance.removeprefix("tied-"), np.cov(x.T))
    prior = NormalInverseWishart(x.mean(0), 0.5, 4.0, scale)
    point = fit(BayesianMixture(Gaussian(2, 2, covariance), prior, concentration, guide=AutoDelta), x, EM(tol=1e-12))
    plain = fit(Mixture(Gaussian(2, 2, covariance, prior), concentration), x, EM(tol=1e-12))
    assert point.bounds[-1].item() == pytest.approx(plain.bounds[-1].item(), abs=1e-9)
    spread, ours, theirs = x.std(0), point.model, plain.model
    away = (ours.family.loc - theirs.family.loc).detach().numpy() / spread
    assert (
        max(np.abs(away).max(), (ours.weights - theirs.weights).abs().max().item()) < 5e-6
    )  # spherical: flat in minutes of eruption


def test_families_without_a_conjugate_prior_take_priors_by_name():
    x = np.random.default_rng(0).gamma(2.0, 1.0, (40, 1))
    prior = {"concentration": dist.LogNormal(0.0, 1.0), "rate": dist.LogNormal(0.0, 1.0)}
    point = fit(BayesianMixture(Gamma(1, 1), prior, guide=AutoDelta), x, EM(tol=1e-12)).model

    def loss(u):
        a, b = np.exp(u)
        prior = stats.lognorm.logpdf([a, b], 1.0).sum()
        return -(stats.gamma.logpdf(x, a, scale=1 / b).sum() + prior)

    found = np.exp(minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x)
    np.testing.assert_allclose([point.family.concentration.item(), point.family.rate.item()], found, rtol=1e-5)


def test_em_of_a_point_needs_the_expected_log_density():
    student = {"loc": dist.Normal(0.0, 5.0), "scale_tril": dist.LKJCholesky(2), "dof": dist.Gamma(2.0, 0.1)}
    weibull = {"scale": FREE["scale"], "concentration": FREE["scale"]}
    rows = np.random.default_rng(1).gamma(2.0, 1.0, (30, 2))
    for family, prior in ((StudentT(2, 2), student), (FamilyOf(dist.Weibull, 2, 2), weibull)):
        with pytest.raises(TypeError, match=r"EM\(\) needs expected_log_prob\(\), which \w+ does not have: fit it by"):
            fit(BayesianMixture(family, prior, guide=AutoDelta), rows, EM())


def test_a_start_at_the_boundary_is_moved_inside():
    """A level that no row has: probability 0 by maximum likelihood, where a guide cannot begin."""
    x = np.random.default_rng(0).integers(0, 2, (30, 2)).astype(float)
    model = seed(BayesianMixture(Categorical(2, [3, 3]), {"probs": dist.Dirichlet(torch.ones(3))}, guide=AutoNormal), x)
    assert model.global_term().item() > -60


def test_ragged_categories_keep_their_own_prior():
    alpha = torch.tensor([5.0, 6.0, 7.0], dtype=torch.float64)
    x = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
    for model in (
        BayesianMixture(Categorical(1, [3, 2], dist.Dirichlet(alpha))),
        BayesianMixture(Categorical(1, [3, 2]), dist.Dirichlet(alpha)),
        BayesianMixture(Categorical(1, [3, 2]), {"probs": dist.Dirichlet(alpha)}),
    ):
        parts = fit(model, x, EM()).model.beliefs.parts
        np.testing.assert_allclose(parts[0].probs_concentration.detach().numpy().ravel(), [6, 7, 8])
        np.testing.assert_allclose(parts[1].probs_concentration.detach().numpy().ravel(), [6, 8])


NIW = NormalInverseWishart
GAUSS = Gaussian(2, 2)
WRONG = {
    "concentration": (lambda: BayesianMixture(GAUSS, concentration=-1.0), "concentration is -1.0, expected a positive"),
    "nan": (lambda: BayesianMixture(GAUSS, concentration=math.nan), "concentration is nan, expected a positive number"),
    "indefinite": (
        lambda: BayesianMixture(GAUSS, NIW([0.0, 0], 1.0, 4.0, [[1.0, 2], [2, 1]])),
        "expected .* positive def",
    ),
    "dof": (lambda: BayesianMixture(GAUSS, NIW([0.0, 0], 1.0, 0.5, np.eye(2))), "dof 0.5 .* expected .* dof above 1"),
    "weight": (lambda: BayesianMixture(GAUSS, NIW([0.0, 0], -1.0, 4, np.eye(2))), "expected a positive weight"),
    "shape": (lambda: BayesianMixture(GAUSS, NIW([0.0], 1.0, 4.0, np.eye(2))), r"location \(1,\) .* expected \(2,\)"),
    "diag": (
        lambda: BayesianMixture(Gaussian(2, 2, "diag"), NIW([0.0, 0], 1.0, 4, np.eye(2))),
        r"scale \(2, 2\), expected",
    ),
    "kind": (lambda: BayesianMixture(GAUSS, dist.Gamma(1.0, 1.0)), "expected 'weak' or a NormalInverseWishart"),
    "word": (lambda: BayesianMixture(GAUSS, "strong"), "prior is 'strong', expected 'weak' or"),
    "beta": (lambda: BayesianMixture(Poisson(2, 2), dist.Beta(1.0, 1.0)), "prior of rate is Beta.*, expected a Gamma"),
    "mapping": (
        lambda: BayesianMixture(GAUSS, FREE),
        "'weak' or a NormalInverseWishart; .*, such as guide=AutoNormal$",
    ),
    "hyper shape": (
        lambda: BayesianMixture(Poisson(2, 2), dist.Gamma(torch.ones(3), 1.0)),
        r"shape \(3,\), expected one",
    ),
    "short": (
        lambda: BayesianMixture(Categorical(2, [3, 2]), dist.Dirichlet(torch.ones(2))),
        r"shape \(2,\), expected one",
    ),
    "empty": (lambda: BayesianMixture(Bernoulli(2, 2), {}), "there is no prior for probs, expected one for each"),
    "unknown": (
        lambda: BayesianMixture(Poisson(2, 2), {"rat": dist.Gamma(1.0, 1.0)}),
        "prior for 'rat', expected one for",
    ),
    "floor": (lambda: BayesianMixture(Gaussian(2, 2, "diag", variance_floor=0.1)), "variance_floor, expected none"),
    "groups": (
        lambda: BayesianMixture(Product(Gaussian(2, 1), Poisson(2, 1)), ["weak"]),
        "got 1 priors, expected one for",
    ),
    "group": (
        lambda: BayesianMixture(Product(Gaussian(2, 1), Poisson(2, 1)), ["weak", dist.Beta(1.0, 1.0)]),
        "prior of rate is Beta.*, expected a Gamma",
    ),
    "one for all": (
        lambda: BayesianMixture(Product(Gaussian(2, 1), Poisson(2, 1)), dist.Gamma(1.0, 1.0)),
        "expected 'weak' or a list, with a prior for each group",
    ),
    "stick": (lambda: BayesianMixture(Gaussian(1, 2), stick_breaking=True), "expected at least two: there is no stick"),
    "free missing": (
        lambda: BayesianMixture(GAUSS, {"loc": FREE["loc"]}, guide=AutoNormal),
        "no prior for scale_tril, expected one for",
    ),
    "free unknown": (
        lambda: BayesianMixture(Gaussian(2, 2, "diag"), FREE | {"foo": FREE["loc"]}, guide=AutoNormal),
        "got 'foo' as the name of a parameter, which none has, expected 'loc' or 'scale'",
    ),
    "free shape": (
        lambda: BayesianMixture(
            Gaussian(2, 2, "diag"), FREE | {"loc": dist.Normal(torch.zeros(3), 1.0)}, guide=AutoNormal
        ),
        r"prior of loc has shape \(3,\), expected one that fits \(2, 2\)",
    ),
    "free support": (
        lambda: BayesianMixture(Gaussian(2, 2, "diag"), FREE | {"scale": dist.Normal(0.0, 1.0)}, guide=AutoNormal),
        r"prior of scale is Normal\(.*\), expected one that gives GreaterThan",
    ),
    "free discrete": (
        lambda: BayesianMixture(Gaussian(2, 2, "diag"), FREE | {"loc": dist.Poisson(1.0)}, guide=AutoNormal),
        r"prior of loc is Poisson\(.*by a density",
    ),
    "free number": (
        lambda: BayesianMixture(Gaussian(2, 2, "diag"), FREE | {"loc": 3.0}, guide=AutoNormal),
        "prior of loc is 3.0, expected one of pyro.distributions",
    ),
}
TYPES = {
    "guide": (lambda: BayesianMixture(GAUSS, guide="AutoNormal"), "guide is 'AutoNormal', expected None or the class"),
    "made": (
        lambda: BayesianMixture(GAUSS, guide=AutoNormal(lambda: None)),
        "guide is a AutoNormal that is made already, expected None or the class of one of Pyro's guides, as in",
    ),
    "gamma": (lambda: BayesianMixture(Gamma(2, 1)), "Gamma has no conjugate prior, expected a family that has one"),
    "student": (lambda: BayesianMixture(StudentT(2, 1)), "StudentT has no conjugate prior, expected a family that has"),
    "negative": (lambda: BayesianMixture(NegativeBinomial(2, 1)), "NegativeBinomial has no conjugate prior, expected"),
    "any": (lambda: BayesianMixture(FamilyOf(dist.Weibull, 2, 1)), "FamilyOf has no conjugate prior, expected"),
    "gamma guide": (lambda: BayesianMixture(Gamma(2, 1), guide=AutoNormal), "a prior for each parameter, by name"),
    "group": (lambda: BayesianMixture(Product(Gaussian(2, 1), Gamma(2, 1))), "Gamma has no conjugate prior, expected"),
    "kmeans": (lambda: BayesianMixture(KMeans(2, 2)), "got KMeans, expected a Family such as Gaussian"),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_no_prior_can_be_is_refused_at_once(as_users_run_it, make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("make", "message"), TYPES.values(), ids=TYPES.keys())
def test_what_is_of_the_wrong_kind_is_refused_at_once(as_users_run_it, make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_how_far_the_default_prior_moves_a_standard_deviation(faithful):
    """What the docstring says of Old Faithful: the s.d. of short eruptions in minutes, by three priors."""
    models = GaussianMixture(2, 2), GaussianMixture(2, 2, prior="weak"), BayesianMixture(Gaussian(2, 2))
    found = []
    for model in models:
        family = fit(model, faithful, EM()).model.family
        short = family.moments().covariance[family.loc[:, 0].argmin(), 0, 0]
        found.append(float(short.sqrt()))
    assert found == pytest.approx([0.2630, 0.2658, 0.2835], abs=1e-3)

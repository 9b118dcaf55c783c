"""NUTS: its log joint density against Pyro's own, its draws against conjugate posteriors in closed form."""

import math
from functools import cache

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from pyro.ops.stats import effective_sample_size
from scipy import stats
from scipy.special import gammaln

from lowerbound.inference import EM, NUTS, SVI, compare, fit, load
from lowerbound.inference.engines import unconstrained_posterior
from lowerbound.inference.engines.nuts import NUTSSteps
from lowerbound.inference.engines.unconstrained_posterior import LogJoint, gaussian_bound
from lowerbound.models import (
    PPCA,
    BayesianMixture,
    Categorical,
    Gaussian,
    GaussianMixture,
    NormalInverseWishart,
    Poisson,
    Product,
    Rows,
    seed,
)

RATES = dist.Gamma(2.0, 0.5)
FREE = {"loc": dist.Normal(0.0, 10.0), "scale": dist.LogNormal(0.0, 2.0)}


ALL_DRAWS = unconstrained_posterior.BOUND_DRAWS


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """For the bound of a fit, which few of these tests look at: each draw costs milliseconds."""
    monkeypatch.setattr(unconstrained_posterior, "BOUND_DRAWS", 200)


def reals(n, d, at=0):
    return torch.as_tensor(np.random.default_rng(at).normal([3.0] * d, np.linspace(1, 20, d), (n, d)))


def counts(n, at=0):
    return torch.as_tensor(np.random.default_rng(at).poisson(4.0, (n, 1))).double()


CASES = {
    "full": (lambda: BayesianMixture(Gaussian(2, 2), concentration=0.7), reals(8, 2)),
    "diag": (lambda: BayesianMixture(Gaussian(3, 2, "diag")), reals(8, 2)),
    "tied": (lambda: BayesianMixture(Gaussian(2, 2, "tied")), reals(8, 2)),
    "spherical": (lambda: BayesianMixture(Gaussian(2, 2, "spherical")), reals(8, 2)),
    "one component": (lambda: BayesianMixture(Poisson(1, 1), RATES), counts(8)),
    "Poisson": (lambda: BayesianMixture(Poisson(3, 1), RATES, 2.0), counts(8)),
    "categorical": (lambda: BayesianMixture(Categorical(2, [3])), counts(8) % 3),
    "product": (
        lambda: BayesianMixture(Product(Gaussian(2, 1, "diag"), Poisson(2, 1))),
        torch.cat([reals(8, 1), counts(8)], 1),
    ),
    "sticks": (lambda: BayesianMixture(Poisson(3, 1), RATES, 0.6, stick_breaking=True), counts(8)),
    "priors by name": (lambda: BayesianMixture(Gaussian(2, 1, "diag"), FREE, guide=AutoNormal), reals(8, 1)),
}


def started(case):
    make, x = CASES[case]
    return seed(make(), x), x


def point(joint, at=0):
    return 0.7 * torch.as_tensor(np.random.default_rng(at).standard_normal(sum(joint.sizes)))


def traced(model, x, theta, weights=None, labels=None):
    """log p(x, theta) by Pyro: the model run with each z in turn, z then summed out by hand, rows repeated by
    weight."""
    rows = []
    for j in range(model.beliefs.components):
        given = poutine.condition(model.model, {**theta, "z": torch.full((len(x),), j)})
        trace = poutine.trace(given).get_trace(x, None, labels)
        trace.compute_log_prob()
        sites = {n: node["log_prob"] for n, node in trace.nodes.items() if node["type"] == "sample" and "fn" in node}
        rows.append(sum(sites.pop(name) for name in ("z", "x", "labels") if name in sites))
    each = torch.stack(rows).logsumexp(0)
    each = each.sum() if weights is None else each @ weights
    return each + sum(sites[name].sum() for name in theta)


def log_jacobian(joint, u):
    """log |det d theta / d u| by autodiff: theta by its free numbers, of a simplex all but the last, of a covariance
    the lower triangle."""

    def free(u):
        found = []
        for name, part in zip(joint.maps, u.split(joint.sizes), strict=True):
            value = joint.maps[name](part.reshape(joint.shapes[name]))
            if name == "covariance":
                rows, columns = torch.tril_indices(*value.shape[-2:])
                value = value[..., rows, columns]
            elif name in ("weights", "probs"):
                value = value[..., :-1]
            found.append(value.flatten())
        return torch.cat(found)

    return torch.linalg.slogdet(torch.autograd.functional.jacobian(free, u)).logabsdet


def sites(joint, u):
    """The sites of Pyro's model there."""
    theta = joint.theta(u)
    return {name: theta[name] for name in joint.maps}


@pytest.mark.parametrize("case", CASES)
def test_the_log_joint_is_that_of_pyro_and_the_jacobian(case):
    model, x = started(case)
    joint = LogJoint(model, Rows(x))
    for at in range(3):
        u = point(joint, at)
        wanted = traced(model, x, sites(joint, u)) + log_jacobian(joint, u)
        torch.testing.assert_close(joint(u), wanted, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_its_gradient_is_that_of_finite_differences(case):
    model, x = started(case)
    joint = LogJoint(model, Rows(x))
    assert torch.autograd.gradcheck(lambda u: joint.potential({"u": u}), point(joint).requires_grad_(), atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case):
    model, x = started(case)
    joint = LogJoint(model, Rows(x))
    u = point(joint, 5)
    torch.testing.assert_close(joint.unconstrained(joint.theta(u)), u, rtol=1e-8, atol=1e-8)
    theta = joint.theta(u)
    assert float(theta["weights"].sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("case", ["full", "Poisson", "sticks"])
def test_labels_weights_and_gaps_count(case):
    model, x = started(case)
    labels = torch.tensor([0, 1, -1, -1, 1, -1, 0, -1])
    weights = torch.tensor([1, 3, 0, 2, 1, 1, 2, 5])
    weighted, repeated = Rows(x, weights.double(), labels), Rows(x.repeat_interleave(weights, 0))
    joint = LogJoint(model, weighted)
    u = point(joint)
    wanted = traced(model, x, sites(joint, u), weights.double(), labels) + log_jacobian(joint, u)
    torch.testing.assert_close(joint(u), wanted, rtol=1e-10, atol=1e-9)
    again = LogJoint(model, Rows(x.repeat_interleave(weights, 0), None, labels.repeat_interleave(weights)))
    torch.testing.assert_close(again(u), joint(u), rtol=1e-12, atol=1e-9)
    assert float(LogJoint(model, repeated)(u)) > float(joint(u)) + 0.1  # without the labels
    if case == "full":
        x = x.clone()
        x[0, 1] = x[5, 0] = torch.nan
        joint = LogJoint(model, Rows(x, missing=True))
        wanted = traced(model, x, sites(joint, u)) + log_jacobian(joint, u)
        torch.testing.assert_close(joint(u), wanted, rtol=1e-10, atol=1e-9)


def test_points_out_of_range_have_no_density_and_stop_nothing():
    model, x = started("full")
    joint = LogJoint(model, Rows(x))
    far = torch.full_like(point(joint), 800.0).requires_grad_()
    value = joint.potential({"u": far})
    assert value == torch.inf
    value.backward()


def agree(draws, chains, mean, sd):
    """Draws (s, ...) have this mean and standard deviation but for Monte Carlo error: 4.5 standard errors, of as many
    draws as they are effectively worth. Of 20 numbers all pass but once in 7000, and the seed is fixed."""
    draws = draws.reshape(chains, -1, int(math.prod(draws.shape[1:]))).double()
    mean, sd = (torch.as_tensor(value).double().flatten() for value in (mean, sd))
    size = effective_sample_size(draws)
    assert (size > 50).all()
    standard = (draws - mean) / sd
    assert (standard.mean((0, 1)).abs() < 4.5 / size.sqrt()).all()
    squared = standard.square()
    error = squared.flatten(0, 1).std(0) / effective_sample_size(squared).sqrt()
    assert ((squared.mean((0, 1)) - 1).abs() < 4.5 * error).all()


def test_one_poisson_has_its_gamma_posterior_and_a_bound_just_below_the_evidence(as_users_run_it, monkeypatch):
    monkeypatch.setattr(unconstrained_posterior, "BOUND_DRAWS", ALL_DRAWS)
    x, n = counts(20), 20
    total = float(x.sum())
    found = fit(BayesianMixture(Poisson(1, 1), RATES), x, NUTS(draws=100, warmup=60, chains=2))
    exact = stats.gamma(2 + total, scale=1 / (0.5 + n))
    agree(found.model.q.theta["rate"], 2, exact.mean(), exact.std())
    assert found.converged and "2 chains of 100 draws" in found.reason
    evidence = 2 * math.log(0.5) - gammaln(2) + gammaln(2 + total) - (2 + total) * math.log(0.5 + n)
    evidence -= float(gammaln(x.numpy() + 1).sum())
    # a normal distribution of the log rate is 0.001 nats from the posterior; log weights have an s.d. of about .05
    assert evidence - 0.03 < float(found.bounds[-1]) * n < evidence + 0.01
    assert float(found.bounds[0]) * n == pytest.approx(evidence, abs=1e-9)  # with one component q has all of it


def test_one_gaussian_has_its_normal_inverse_gamma_posterior(as_users_run_it):
    x, n, location, weight, dof, scale = reals(30, 1), 30, 1.0, 2.0, 6.0, 3.0
    prior = NormalInverseWishart([location], weight, dof, [scale])
    found = fit(BayesianMixture(Gaussian(1, 1, "diag"), prior), x, NUTS(draws=120, warmup=60, chains=1), seed=1)
    centre = float(x.mean())
    scale += float((x - centre).square().sum()) + weight * n / (weight + n) * (centre - location) ** 2
    variance = stats.invgamma((dof + n) / 2, scale=scale / 2)
    loc = stats.t(dof + n, (weight * location + n * centre) / (weight + n), (scale / (dof + n) / (weight + n)) ** 0.5)
    agree(found.model.q.theta["variance"], 1, variance.mean(), variance.std())
    agree(found.model.q.theta["loc"], 1, loc.mean(), loc.std())


def test_known_labels_are_kept_although_the_components_are_alike(as_users_run_it):
    x, labels = counts(8, 3).repeat_interleave(2, 0), torch.arange(16) % 2
    found = fit(BayesianMixture(Poisson(2, 1), RATES), x, NUTS(draws=120, warmup=60, chains=1), labels=labels.numpy())
    theta = found.model.q.theta
    for j in range(2):
        exact = stats.gamma(2 + float(x[labels == j].sum()), scale=1 / 8.5)
        agree(theta["rate"][:, j], 1, exact.mean(), exact.std())
    share = stats.beta(9, 9)
    agree(theta["weights"][:, 0], 1, share.mean(), share.std())


def test_sticks_and_labels_stay_together(as_users_run_it):
    """Draws are relabelled, and weights and rates with them: what they say of the rows is what the chain said."""
    x = torch.cat([counts(15), counts(10) + 20])
    model = BayesianMixture(Poisson(3, 1), RATES, 0.6, stick_breaking=True)
    found = fit(model, x, NUTS(draws=30, warmup=30, chains=1), seed=2)
    theta = found.model.q.theta
    torch.testing.assert_close(theta["weights"].sum(1), torch.ones(30).double())
    sizes = (theta["weights"] * (theta["rate"].squeeze(-1) > 12)).sum(1)
    assert 0.25 < float(sizes.mean()) < 0.55  # 10 rows of 25 are large
    # the bound is one of a Gaussian near the posterior, not of one of mixed up sticks and rates
    vb = fit(model, x, EM(), restarts=3)
    assert abs(float(found.bounds[-1] - vb.bounds[-1])) * 25 < 5


def small(**settings):
    return fit(
        BayesianMixture(Poisson(2, 1), RATES), counts(12), NUTS(**{"draws": 6, "warmup": 4, "chains": 2} | settings)
    )


def test_the_same_seed_has_the_same_bits_and_leaves_no_trace():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = small(draws=4, warmup=2, chains=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    second = small(draws=4, warmup=2, chains=1)
    assert torch.equal(first.bounds, second.bounds)
    for name, value in first.model.q.theta.items():
        assert torch.equal(value, second.model.q.theta[name])
    other = fit(BayesianMixture(Poisson(2, 1), RATES), counts(12), first.engine, seed=1)
    assert not torch.equal(other.model.q.theta["rate"], first.model.q.theta["rate"])


@cache
def drawn():
    """To be read only."""
    return small()


def test_a_file_brings_back_the_same_bits(tmp_path):
    found = drawn()
    found.save(tmp_path / "fit")
    back = load(tmp_path / "fit")
    assert back.engine == found.engine and back.reason == found.reason and back.converged == found.converged
    assert torch.equal(back.bounds, found.bounds)
    for name, value in found.model.q.theta.items():
        assert torch.equal(value, back.model.q.theta[name])
    x = counts(5, 9)
    assert torch.equal(back.model.evidence(x), found.model.evidence(x))


def test_chains_that_disagree_are_said_to():
    found = small(warmup=1)
    assert not found.converged
    assert found.reason.startswith("not converged: 2 chains of 6 draws, largest R-hat ")
    assert "expected at most 1.05" in found.reason


def test_a_chain_that_does_not_move_has_a_bound_and_has_not_converged():
    model, x = started("full")
    joint = LogJoint(model, Rows(x))
    still = point(joint).expand(40, -1)
    assert gaussian_bound(joint, still) < float(joint(still[0]))
    sampling = NUTSSteps(NUTS(40, 1, 1), model, Rows(x), torch.Generator())
    converged, reason = sampling._judged(still, 0)
    assert not converged and "largest R-hat inf" in reason


@pytest.mark.parametrize(
    "settings", [{"draws": 3}, {"warmup": 0.5}, {"chains": -1}, {"target_accept": 1.0}, {"target_accept": 0.0}]
)
def test_bad_settings_are_refused(as_users_run_it, settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"^{name} is .*, expected [^.]*( as 0.8|of at least [14])$"):
        NUTS(**settings)


@pytest.mark.parametrize("model", [GaussianMixture(2, 3), PPCA(3, 1)])
def test_models_without_a_posterior_are_refused(model):
    wanted = f"^NUTS draws parameters from a posterior, which {type(model).__name__} does not have: make it a "
    with pytest.raises(TypeError, match=wanted):
        fit(model, reals(20, 3), NUTS(4, 4, 1))


@pytest.mark.parametrize("engine", [EM(), SVI(), NUTS(4, 4, 1)])
def test_draws_are_not_fitted_again(engine):
    model = drawn().model
    with pytest.raises(ValueError, match=r"^this model holds the draws of a sampler, which cannot be fitted: "):
        fit(model, counts(12), engine)


@pytest.mark.drawn(1)
@pytest.mark.parametrize("guide", [None, AutoNormal], ids=["conjugate", "guide"])
def test_a_draw_by_sticks_is_replayed_with_the_density_that_it_had(guide, monkeypatch):
    """Chains start with sticks in places of their own; labels are matched; the pair has what each chain had."""
    x = torch.cat([counts(6), counts(4) + 20])
    seen = []
    judged = NUTSSteps._judged
    monkeypatch.setattr(
        NUTSSteps, "_judged", lambda self, draws, *rest: seen.append(draws) or judged(self, draws, *rest)
    )
    model = BayesianMixture(Poisson(3, 1), RATES, 0.6, stick_breaking=True, guide=guide)
    model = fit(model, x, NUTS(4, 3, 3), seed=2).model
    joint = LogJoint(model, Rows(x))
    for at in range(8):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(at)
            trace = poutine.trace(model.guide).get_trace(x)
        theta = {name: trace.nodes[name]["value"] for name in ("sticks", "rate")}
        (which,) = (model.q.theta["sticks"] == theta["sticks"]).all(1).nonzero()[0].tolist()
        found = traced(model, x, theta) + log_jacobian(joint, joint.unconstrained(theta))
        assert float(found) == pytest.approx(float(seen[0][which, -1]), rel=1e-10)
        values = model.log_likelihood({n: v[[which]] for n, v in model.q.theta.items()}, x).sum()
        wanted = traced(model, x, theta) - model.log_prior({n: v[[which]] for n, v in model.q.theta.items()})
        torch.testing.assert_close(values, wanted.squeeze())


@pytest.mark.parametrize("apart", [False, True])
def test_draws_are_relabelled_where_their_density_stays(apart):
    x = torch.cat([counts(6), counts(4) + 20])
    rate = dist.Gamma(torch.tensor([[2.0], [2.0], [20.0]]).double(), 1.0) if apart else dist.Gamma(2.0, 0.5)
    model = seed(BayesianMixture(Poisson(3, 1), {"rate": rate}, guide=AutoNormal), x)
    theta = {name: value.detach() for name, value in model.draw(6, seed=0).items()}
    theta = {name: torch.cat([value, value[:, [2, 0, 1]], value[:, [1, 0, 2]]]) for name, value in theta.items()}
    found = NUTSSteps(NUTS(4, 1, 1), model, Rows(x), torch.Generator())._relabelled(theta)
    torch.testing.assert_close(model.log_prior(found), model.log_prior(theta))
    assert torch.equal(found["rate"][:6], found["rate"][12:])  # of those two the priors are the same
    assert torch.equal(found["rate"][:6], found["rate"][6:12]) is not apart


def test_the_two_passes_are_needed_and_no_other_is_the_best(as_users_run_it):
    model, x = BayesianMixture(Poisson(2, 1), RATES), counts(12)
    with pytest.raises(ValueError, match=r"^max_passes is 1, expected at least 2: NUTS draws in its second pass$"):
        fit(model, x, NUTS(4, 4, 1), max_passes=1)
    with pytest.raises(ValueError, match=r"^patience is 3, but NUTS ends by itself .* leave patience out$"):
        fit(model, x, NUTS(4, 4, 1), validation=x, patience=3)
    assert fit(model, x, NUTS(4, 4, 1), validation=x).held_out.shape == (2,)


def test_the_bound_of_a_gaussian_takes_finite_draws_and_leaves_out_what_has_no_density(monkeypatch):
    """log joint = -|u|^2 / 2 where u_1 > 0, else none: the bound is that of a half Gaussian, log(1/2) below."""
    monkeypatch.setattr(unconstrained_posterior, "BOUND_DRAWS", ALL_DRAWS)

    class Half(LogJoint):
        def __init__(self):
            pass

        def many(self, u):
            normal = -0.5 * u.square().sum(1) - u.shape[1] * math.log(2 * math.pi) / 2
            return torch.where(u[:, 0] > 0, normal, -torch.inf)

    draws = torch.as_tensor(np.random.default_rng(0).standard_normal((5000, 2)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # 2000 draws: an s.d. of 0.022 of log(1/2), and the draws' own moments are off by 1/70
        assert gaussian_bound(Half(), draws) == pytest.approx(math.log(0.5), abs=0.1)
    draws[3, 0] = -torch.inf
    with pytest.raises(ArithmeticError, match=r"^some draws of the sampler are at the boundary of a parameter's range"):
        gaussian_bound(Half(), draws)


def test_a_comparison_has_a_dash_for_the_way_up_of_a_sampler():
    found = fit(BayesianMixture(Poisson(2, 1), RATES), counts(12), EM())
    told = str(compare(counts(12), vb=found, nuts=drawn())).splitlines()
    for title in ("passes", "gradient norm"):
        (line,) = [line for line in told if line.startswith(f"| {title}")]
        assert line.split("|")[3].strip() == "-" and line.split("|")[2].strip() != "-"

"""Bayesian mixtures by every engine: one bound, laws that hold for any data, and what is kept, copied and refused."""

import copy
import math
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from conjugacy import CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.infer import Trace_ELBO, autoguide
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal
from scipy import stats

from lowerbound.inference import EM, SVI, OnlineEM, bootstrap, fit, load, standard_errors
from lowerbound.inference.criticism.distances_between_fits import pair_distances
from lowerbound.models import (
    BayesianMixture,
    Bernoulli,
    Collapse,
    Exponential,
    Gaussian,
    LatentModel,
    Multinomial,
    NormalInverseWishart,
    Poisson,
    PosteriorDraws,
    Product,
    Rows,
    SupportsEM,
    seed,
)

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
CONCENTRATIONS = st.sampled_from([0.01, 0.1, 1.0, 10.0])


def total(model, x, weights=None, labels=None):
    local = model.bound(x, labels)
    return (local.sum() if weights is None else local @ torch.as_tensor(weights)).item() + model.global_term().item()


@settings(max_examples=24)
@given(st.sampled_from(sorted(CASES)), CONCENTRATIONS, st.booleans(), st.booleans(), st.integers(0, 99))
def test_the_bound_never_falls(name, concentration, sticks, gaps, start):
    case = CASES[name]
    x = case.rows(15, start)
    if gaps and name != "multinomial":
        x[np.random.default_rng(start).random(x.shape) < 0.15] = np.nan
    model = BayesianMixture(case.family(4), case.prior, concentration, sticks)
    found = fit(model, x, EM(tol=0.0), max_passes=12, seed=start)
    assert found.bounds.diff().min() > -1e-12 * (1 + found.bounds.abs().max())
    assert len(x) * found.bounds[-1].item() == pytest.approx(total(found.model, x), rel=1e-10, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "sticks"), [("poisson", True), ("full", False), ("tied-diag", False), ("product", False)]
)
def test_the_elbo_of_pyro_has_the_bound_for_its_mean(name, sticks):
    """4 standard errors, 8 numbers: a false alarm in 5e-4 of seeds."""
    case = CASES[name]
    x = case.rows(12)
    model = fit(BayesianMixture(case.family(2), case.prior, 0.8, sticks), x, EM(), max_passes=10).model
    labels = np.where(np.arange(12) % 4 == 0, np.arange(12) % 2, -1)
    weights = np.arange(12) % 3 + 0.5
    for arguments in ((), (weights, labels)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            elbo = -np.array([Trace_ELBO().loss(model.model, model.guide, x, *arguments) for _ in range(30)])
        assert abs(elbo.mean() - total(model, x, *arguments)) < 4 * elbo.std() / np.sqrt(len(elbo))
        assert elbo.std() > 0


def test_every_engine_ends_where_variational_bayes_does(faithful):
    """Nats in total: without noise 1e-2 below, with it 0.3 (measured 0.10); the same optimum by leaps."""
    n, model = len(faithful), BayesianMixture(Gaussian(2, 2))
    best = n * fit(model, faithful, EM()).bounds[-1].item()
    assert n * fit(model, faithful, EM(accelerate="squarem")).bounds[-1].item() == pytest.approx(best, abs=1e-4)
    exact = n * fit(model, faithful, SVI("exact"), max_passes=200).bounds[-1].item()
    assert best - 1e-2 < exact <= best + 1e-6
    sampled = n * fit(model, faithful, SVI(), max_passes=150).bounds[-1].item()
    assert best - 0.3 < sampled <= best + 1e-6
    online = n * fit(model, faithful, OnlineEM(batch_size=64), max_passes=30).bounds[-1].item()
    assert best - 1e-3 < online <= best + 1e-6


def test_natural_gradients_of_minibatches_on_many_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100_000, 2)) + 2.5 * rng.integers(0, 3, (100_000, 1)) * [1.0, -1.0]
    model = BayesianMixture(Gaussian(3, 2))
    em = fit(model, x, EM(), max_passes=60).bounds[-1].item()
    online = fit(model, x, OnlineEM(batch_size=1000), max_passes=6).bounds[-1].item()
    assert abs(online - em) < 1e-3 * abs(em)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_small_concentration_empties_superfluous_components(faithful, seed):
    """Of ten, two or three are left, whatever the start; a third one has the rows between the two, and beyond."""
    model = BayesianMixture(Gaussian(10, 2), concentration=0.01)
    weights = fit(model, faithful, EM(), restarts=5, seed=seed).model.weights
    assert int((weights > 0.01).sum()) in (2, 3) and int((weights < 1e-3).sum()) >= 7


def test_the_weak_prior_does_not_depend_on_the_number_of_components():
    """So that bounds of log p(all rows) compare."""
    for family in (Gaussian, Poisson, Exponential, Bernoulli, Multinomial):
        x = np.random.default_rng(0).integers(0, 2, (30, 2)) + (0.5 if family in (Gaussian, Exponential) else 0.0)
        priors = []
        for k in (1, 4):
            theta = {}
            model = seed(BayesianMixture(family(k, 2)), x)
            for name, distribution in model.beliefs.prior(theta):
                theta[name] = distribution.mean
                priors.append(distribution.mean[0])
        half = len(priors) // 2
        for one, other in zip(priors[:half], priors[half:], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


@cases
def test_weights_are_repeated_rows_and_sums_add_over_chunks(case):
    x = case.rows(12)
    weights = np.arange(12) % 3 + (np.arange(12) % 4 == 0)
    labels = np.where(np.arange(12) % 5 == 0, 1, -1)
    model = BayesianMixture(case.family(2), case.prior, 0.7)
    seed(model, x)
    again, first, second = (
        model.expect(np.repeat(x, weights, 0), None, np.repeat(labels, weights)),
        model.expect(x[:5], weights[:5], labels[:5]),
        model.expect(x[5:], weights[5:], labels[5:]),
    )
    for one in (model.expect(x, weights, labels), first + second):
        for name in ("weight", "total", "bound", "total_weight"):
            torch.testing.assert_close(getattr(one, name), getattr(again, name), rtol=1e-10, atol=1e-10)
    assert isinstance(model, LatentModel)
    assert isinstance(model, SupportsEM)


@pytest.mark.parametrize("name", ["diag", "poisson"])
def test_of_one_component_missing_cells_cost_a_little_of_the_evidence(name):
    """Independent columns: the evidence of the seen cells is that of each column's own rows."""
    case = CASES[name]
    x = case.rows(20)
    x[::4, 0] = np.nan
    found = fit(BayesianMixture(case.family(1), case.prior), x, EM(tol=1e-13))
    exact = 0.0
    for j in range(2):
        own = x[~np.isnan(x[:, j])][:, [j]]
        if name == "poisson":
            prior = dist.Gamma(case.prior.concentration[j], case.prior.rate[j])
            model = BayesianMixture(Poisson(1, 1), prior)
        else:
            prior = NormalInverseWishart([case.prior.location[j]], 0.7, 3.5, [case.prior.scale[j]])
            model = BayesianMixture(Gaussian(1, 1, "diag"), prior)
        exact += len(own) * fit(model, own, EM(), max_passes=3).bounds[-1].item()  # exact: test_bayesian_exact
    bound = len(x) * found.bounds[-1].item()
    assert exact - 0.5 < bound < exact


# what is kept, and what is refused


def free():
    prior = {"loc": dist.Normal(0.0, 10.0), "scale": dist.LogNormal(0.0, 2.0)}
    return BayesianMixture(Gaussian(3, 2, "diag"), prior, 1.5, guide=AutoNormal)


KINDS = {
    "conjugate": lambda: BayesianMixture(Gaussian(3, 2)),
    "poisson": lambda: BayesianMixture(Poisson(3, 2), dist.Gamma(2.0, 0.5), 0.1),
    "sticks": lambda: BayesianMixture(Gaussian(3, 2), concentration=2.0, stick_breaking=True),
    "normal": lambda: BayesianMixture(Gaussian(3, 2), guide=AutoNormal),
    "joint": lambda: BayesianMixture(Gaussian(3, 2, "tied"), guide=AutoMultivariateNormal),
    "point": lambda: BayesianMixture(Gaussian(3, 2), concentration=1.0, guide=AutoDelta),
    "guided sticks": lambda: BayesianMixture(Gaussian(3, 2), None, 1.5, True, AutoNormal),
    "free": free,
}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())


def fitted(make, faithful, passes=3):
    x = faithful.round() if "Poisson" in repr(make()) else faithful
    return fit(make(), x, SVI(), max_passes=passes), x


@kinds
def test_a_saved_fit_comes_back_to_the_bit_and_a_copy_stands_apart(make, faithful, tmp_path):
    found, x = fitted(make, faithful)
    found.save(tmp_path / "fit.safetensors")
    back = load(tmp_path / "fit.safetensors").model
    assert repr(back) == repr(found.model)
    bound = found.model.bound(x)
    assert torch.equal(back.bound(x), bound)
    assert torch.equal(back.global_term(), found.model.global_term())
    assert torch.equal(back.evidence(x), found.model.evidence(x))
    assert torch.equal(back.sample(5, seed=0), found.model.sample(5, seed=0))
    drawn = found.model.draw(2, seed=3)
    assert all(torch.equal(drawn[name], value) for name, value in back.draw(2, seed=3).items())
    twin = copy.deepcopy(found.model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.1)
    assert torch.equal(found.model.bound(x), bound)
    assert not torch.equal(twin.bound(x), bound)


@kinds
def test_relabelling_changes_nothing_but_the_labels(make, faithful):
    found, x = fitted(make, faithful)
    model, order = found.model, [2, 0, 1]
    bound, term, weights = model.bound(x), model.global_term().item(), model.weights
    loc, evidence, theta = model.family.moments().mean, model.evidence(x), model.draw(2, seed=0)
    share = model.posterior(x).probs
    model.permute(order)
    near = dict(rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(model.bound(x), bound, **near)
    torch.testing.assert_close(model.evidence(x), evidence, **near)
    assert model.global_term().item() == pytest.approx(term, rel=1e-11)
    torch.testing.assert_close(model.weights, weights[order], **near)
    torch.testing.assert_close(model.family.moments().mean, loc[order], **near)
    torch.testing.assert_close(model.posterior(x).probs, share[:, order], **near)
    if not model.has_exact_bound:  # the guide draws the same; a conjugate posterior draws in its own order
        moved = model.draw(2, seed=0)
        torch.testing.assert_close(moved["weights"], theta["weights"][:, order], **near)
    else:
        assert (model.draw(40, seed=0)["weights"].mean(0) - weights[order]).abs().max() < 0.06


def test_draws_of_a_sampler_are_held(faithful, tmp_path):
    found = fit(BayesianMixture(Gaussian(2, 2)), faithful, EM())
    theta = found.model.draw(40, seed=0)
    model = copy.deepcopy(found.model)
    model.set_draws(theta, PosteriorDraws(4, 10), torch.tensor(-20.0, dtype=torch.float64))
    assert list(model.parameters()) == []
    each = found.model.log_likelihood(theta, faithful)
    np.testing.assert_allclose(model.bound(faithful).numpy(), each.mean(0).numpy(), rtol=1e-12)
    np.testing.assert_allclose(model.evidence(faithful).numpy(), np.log(np.exp(each.numpy()).mean(0)), rtol=1e-12)
    torch.testing.assert_close(model.weights, theta["weights"].mean(0))
    replace(found, model=model).save(tmp_path / "fit.safetensors")
    back = load(tmp_path / "fit.safetensors").model
    assert torch.equal(back.bound(faithful), model.bound(faithful))
    model.permute([1, 0])
    torch.testing.assert_close(model.weights, theta["weights"].mean(0)[[1, 0]])
    torch.testing.assert_close(model.bound(faithful), back.bound(faithful), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="holds the draws of a sampler, which cannot be fitted"):
        fit(back, faithful, EM())


def test_a_joint_normal_guide_comes_close_to_the_evidence():
    """Of one component in one column, 200 rows: the exact log evidence is known; 20 draws estimate the bound."""
    x = np.random.default_rng(0).normal(3.0, 2.0, (200, 1))
    prior = NormalInverseWishart([0.0], 0.1, 3.0, [[2.0]])
    exact = 200 * fit(BayesianMixture(Gaussian(1, 1), prior), x, EM(), max_passes=3).bounds[-1].item()
    model = seed(BayesianMixture(Gaussian(1, 1), prior, guide=AutoMultivariateNormal), x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        optimizer = pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.985})
        step = pyro.infer.SVI(model.model, model.guide, optimizer, Trace_ELBO()).step
        for _ in range(300):
            step(x)
        elbo = -np.array([Trace_ELBO().loss(model.model, model.guide, x) for _ in range(150)])
    assert model.posterior(x).probs.shape == (200, 1)
    error = elbo.std() / np.sqrt(len(elbo))
    assert elbo.mean() < exact + 4 * error
    assert elbo.mean() > exact - 0.05 - 4 * error


def test_engines_refuse_or_take_what_they_say(faithful, tmp_path):
    guided = BayesianMixture(Gaussian(2, 2), guide=AutoNormal)
    with pytest.raises(TypeError, match=r"conjugate posterior and AutoDelta have: fit this guide by SVI"):
        fit(guided, faithful, EM())
    with pytest.raises(TypeError, match="has no closed form"):
        fit(guided, faithful, SVI("exact"))
    with pytest.raises(ValueError, match="no posterior yet"):
        guided.bound(faithful)
    model = BayesianMixture(Gaussian(2, 2))
    with pytest.raises(TypeError, match=r"is frozen, expected parameters of q that can change"):
        fit(copy.deepcopy(model).freeze("location_weight"), faithful, EM())
    long = fit(model, faithful, EM(), restarts=3, validation=faithful[:50], patience=5, max_passes=20)
    assert long.held_out is not None
    half = tmp_path / "run.ckpt"
    again = [fit(model, faithful, EM(), max_passes=12, checkpoint=half).bounds for _ in range(2)]
    assert torch.equal(*again)
    assert torch.equal(again[0], fit(model, faithful, EM(), max_passes=12).bounds)
    with pytest.raises(ValueError, match="expected a permutation"):
        long.model.permute([0, 0])
    for method in (long.model.sample, long.model.draw):
        with pytest.raises(ValueError, match="expected a whole number"):
            method(0)


def test_a_point_without_a_prior_against_collapse_is_found_out():
    x = np.concatenate([np.random.default_rng(0).normal(size=30), [9.0, 9.0]])[:, None]
    flat = {"loc": dist.Normal(0.0, 10.0), "scale": dist.HalfCauchy(1.0)}
    model = BayesianMixture(Gaussian(2, 1, "diag"), flat, guide=AutoDelta)
    with pytest.raises(Collapse, match=r"component \d has collapsed"):
        fit(model, x, EM(), max_passes=200)


def test_nothing_is_left_in_the_store(faithful):
    model = seed(BayesianMixture(Gaussian(2, 2), guide=AutoNormal), faithful)
    Trace_ELBO().loss(model.model, model.guide, faithful)
    assert list(pyro.get_param_store().keys()) == []


@pytest.mark.parametrize("name", ["point", "normal", "guided sticks", "free"])
def test_training_goes_on_with_the_new_labels(name, faithful):
    """A pair with known labels has the same ELBO, of one draw with an exact q(z), after all labels have moved."""
    found, x = fitted(KINDS[name], faithful)
    x = torch.as_tensor(x.to_numpy())
    model, order = found.model, torch.tensor([2, 0, 1])
    labels = torch.full((len(x),), -1)
    labels[:6] = model.predict(x)[:6]

    def loss(labels):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Trace_ELBO().loss(model.model, model.guide, x, None, labels)

    before = loss(labels)
    model.permute(order)
    assert loss(torch.where(labels < 0, -1, order.argsort()[labels])) == pytest.approx(before, rel=1e-10)


@pytest.mark.parametrize("sticks", [False, True])
def test_em_of_a_point_goes_on_with_the_new_labels(sticks, faithful):
    model = fit(BayesianMixture(Gaussian(3, 2), None, 2.0, sticks, AutoDelta), faithful, EM(), max_passes=3).model
    moved = copy.deepcopy(model)
    moved.permute([2, 0, 1])
    for each in (model, moved):
        each.maximize(each.expect(faithful))
    assert total(moved, faithful) == pytest.approx(total(model, faithful), rel=1e-9)
    torch.testing.assert_close(moved.weights, model.weights[[2, 0, 1]], rtol=1e-7, atol=1e-9)


APART = {
    "loc": dist.Normal(torch.tensor([[0.0, 0.0], [2.0, 50.0], [2.0, 50.0]]), 20.0),
    "scale": dist.LogNormal(0.0, 2.0),
}


def test_labels_that_priors_give_a_meaning_are_kept(faithful, as_users_run_it):
    faithful = faithful[::8]
    made = BayesianMixture(Gaussian(3, 2, "diag"), APART, guide=AutoNormal)
    found = {name: fit(made, faithful, SVI(), max_passes=1, seed=at) for at, name in enumerate(("a", "b"))}
    model = found["a"].model
    theta = model.draw(3, seed=0)
    log_p, weights = model.log_prior(theta), theta["weights"]
    with pytest.raises(
        ValueError, match=r"^got order \[1, 0, 2\], but the priors of components 0 and 1 differ, [^.]*$"
    ):
        model.permute([1, 0, 2])
    model.permute([0, 2, 1])
    moved = model.draw(3, seed=0)
    torch.testing.assert_close(moved["weights"], weights[:, [0, 2, 1]])
    torch.testing.assert_close(model.log_prior(moved), log_p)
    assert math.isfinite(pair_distances(model, found["b"].model, Rows(faithful))["posterior_kl"])


@pytest.mark.parametrize(
    "family",
    [Gaussian(2, 2), Gaussian(2, 2, "tied-diag"), Poisson(2, 2), Product(Gaussian(2, 1), Exponential(2, 1))],
    ids=["full", "tied-diag", "poisson", "product"],
)
def test_a_posterior_that_goes_on_with_other_rows_takes_their_units(family, faithful):
    """q of the old rows is where it begins; prior and bound are those of a fit that begins with the new ones."""
    x = faithful.to_numpy()
    x, other = (np.round(x), np.round(1.3 * x) + 1) if isinstance(family, Poisson) else (x, 1.03 * x + 0.1)
    first = fit(BayesianMixture(family), x, EM(tol=1e-12))
    again, fresh = fit(first.model, other, EM(tol=1e-12)), fit(BayesianMixture(family), other, EM(tol=1e-12))
    theta = fresh.model.draw(2, seed=0)
    torch.testing.assert_close(again.model.log_prior(theta), fresh.model.log_prior(theta))
    assert again.bounds[-1].item() == pytest.approx(fresh.bounds[-1].item(), abs=1e-7)
    same = fit(first.model, x, EM(), max_passes=1)
    assert same.bounds[0].item() == pytest.approx(first.bounds[-1].item(), abs=1e-9)


def test_a_guide_that_goes_on_with_other_rows_is_where_it_was(faithful):
    made = fit(BayesianMixture(Gaussian(2, 2), guide=AutoNormal), faithful, SVI(), max_passes=5).model
    before = made.draw(3, seed=0)
    made.initialize(Rows(7 * faithful + 5), None, torch.Generator(), redraw=False)
    fresh = seed(BayesianMixture(Gaussian(2, 2), guide=AutoNormal), 7 * faithful + 5)
    for name, value in made.draw(3, seed=0).items():
        torch.testing.assert_close(value, before[name])
    torch.testing.assert_close(made.log_prior(before), fresh.log_prior(before))


class NoMedian(AutoNormal):
    @property
    def median(self):
        raise AttributeError("median")


def test_means_of_a_guide_without_a_median_are_always_the_same(faithful):
    made = seed(BayesianMixture(Gaussian(2, 2), guide=NoMedian), faithful)
    state = torch.get_rng_state()
    weights = made.weights
    made.family.moments()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(made.weights, weights)


FITTING = ["AutoDelta", "AutoDiagonalNormal", "AutoLowRankMultivariateNormal", "AutoMultivariateNormal", "AutoNormal"]
FITTING += ["AutoStructured"]


@pytest.mark.drawn(6)
@pytest.mark.parametrize("name", [name for name in autoguide.__all__ if name.startswith("Auto")])
def test_every_guide_of_pyro_fits_or_is_refused_in_a_sentence(name, faithful):
    def made():
        return BayesianMixture(Gaussian(2, 2), guide=getattr(autoguide, name))

    if name in FITTING:
        found = fit(made(), faithful, SVI(), max_passes=8)
        assert found.bounds[-1] > found.bounds[0]
        assert copy.deepcopy(found.model).draw(3, seed=0)["loc"].shape == (3, 2, 2)
    else:
        with pytest.raises(TypeError, match=f"^{name} makes no guide that .*, expected one such as AutoNormal, "):
            made()


def test_multiple_imputations_have_the_spread_of_the_parameters_too():
    """Of one Poisson column a missing cell is negative binomial: 400 draws, 5 standard errors of a frequency."""
    x = np.array([[3.0, 1.0], [5.0, 0.0], [4.0, 2.0], [np.nan, 1.0]])
    model = fit(BayesianMixture(Poisson(1, 2), dist.Gamma(2.0, 0.5)), x[:3], EM()).model
    drawn = model.draw_missing(x, 400, seed=0)
    assert torch.equal(*(model.draw_missing(x, 10, seed=0) for _ in range(2)))
    assert torch.equal(drawn[:, :3], torch.as_tensor(x[:3]).expand(400, 3, 2)) and (drawn[:, 3, 1] == 1).all()
    exact = stats.nbinom(2 + 12, 3.5 / 4.5)  # the rate is Gamma(14, 3.5)
    for value in range(8):
        p = exact.pmf(value)
        assert abs(float((drawn[:, 3, 0] == value).double().mean()) - p) < 5 * np.sqrt(p * (1 - p) / 400)
    with pytest.raises(ValueError, match="draws is 0, expected a whole number"):
        model.draw_missing(x, 0)


@pytest.mark.parametrize("name", ["weights", "family"])
def test_what_is_read_off_q_is_not_set(name, faithful):
    model = seed(BayesianMixture(Gaussian(2, 2)), faithful)
    with pytest.raises(AttributeError, match=f"^the {name} of a BayesianMixture cannot be set, because "):
        setattr(model, name, getattr(model.centre(), name))


@pytest.mark.parametrize("way", [bootstrap, standard_errors])
@pytest.mark.parametrize("guide", [None, AutoDelta])
def test_a_posterior_has_no_sampling_distribution(way, guide, faithful):
    found = fit(BayesianMixture(Gaussian(2, 2), guide=guide), faithful, EM(), max_passes=3)
    with pytest.raises(TypeError, match=r"^BayesianMixture has a posterior over its parameters, .*draw\(4000\)$"):
        way(found, faithful)


def test_advice_for_a_constant_column_is_one_that_can_be_taken(as_users_run_it):
    x = np.column_stack([np.arange(9.0), np.ones(9)])
    with pytest.raises(ValueError, match='NormalInverseWishart prior, or covariance="spherical", or, for a Gaussian'):
        fit(BayesianMixture(Gaussian(2, 2)), x, EM())
    assert fit(BayesianMixture(Gaussian(2, 2, "spherical")), x, EM()).bounds.isfinite().all()

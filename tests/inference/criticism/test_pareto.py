"""How far q is from the posterior: oracles are closed forms, enumeration of all z, and ArviZ's own psislw."""

import itertools
import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoNormal
from scipy.special import gammaln, logsumexp
from scipy.stats import genpareto

from lowerbound.inference import EM, SVI, compare, fit, reliability
from lowerbound.inference.criticism.candidate_scores import candidate_scores
from lowerbound.inference.criticism.pareto_smoothing import pareto_smoothed
from lowerbound.inference.criticism.permutation_averaged_density import log_permanent, log_permutation_averaged_density
from lowerbound.inference.criticism.reliability import Reliability
from lowerbound.inference.criticism.to_arviz import import_arviz
from lowerbound.models import BayesianMixture, Categorical, Gaussian, Poisson, PosteriorDraws, Product, Rows, seed


def log_gamma_poisson(x, a, b):
    """log of the integral of prod Poisson(x_i | rate) Gamma(rate | a, b)."""
    n, total = len(x), sum(x)
    return a * math.log(b) - gammaln(a) + gammaln(a + total) - (a + total) * math.log(b + n) - sum(gammaln(x + 1))


def log_evidence_over_z(x, k, a, b, concentration, labels=None):
    """log p(x) by the sum over all z: Dirichlet-multinomial p(z) times evidences of single components."""
    terms = []
    for z in itertools.product(range(k), repeat=len(x)):
        if labels is not None and any(label not in (-1, j) for label, j in zip(labels, z, strict=True)):
            continue
        counts = np.bincount(z, minlength=k)
        log_pz = gammaln(k * concentration) - gammaln(k * concentration + len(x))
        log_pz += sum(gammaln(concentration + counts) - gammaln(concentration))
        own = [log_gamma_poisson(x[np.array(z) == j], a, b) if counts[j] else 0.0 for j in range(k)]
        terms.append(log_pz + sum(own))
    return logsumexp(terms)


def gamma(a, b):
    return torch.distributions.Gamma(torch.tensor(float(a)).double(), torch.tensor(float(b)).double())


def poisson(x, k=2, a=1.0, b=0.1, **keywords):
    model = BayesianMixture(Poisson(k, 1), gamma(a, b), **keywords)
    return np.asarray(x, float)[:, None], model


# smoothing


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [0.2, 0.6, 1.1])
def test_smoothing_is_that_of_arviz(seed, k):
    random = np.random.default_rng(seed)
    ratios = np.log(genpareto.rvs(k, size=700, random_state=random)) - 1234.5
    arviz = import_arviz()
    if "psislw" not in vars(arviz):
        pytest.skip("ArviZ 1 has no psislw of its own")
    smoothed, shape = pareto_smoothed(ratios)
    wanted, wanted_shape = arviz.psislw(ratios)
    assert shape == pytest.approx(float(wanted_shape), abs=1e-10)
    np.testing.assert_allclose(smoothed - logsumexp(smoothed), wanted, atol=1e-9)


def test_the_shape_of_a_known_tail_is_found():
    # ratios ~ Pareto with this shape: the estimate has s.d. (1 + k) / sqrt(tail) = 0.06 of 949 in the tail
    for k in (0.3, 0.7, 1.0):
        ratios = np.log(genpareto.rvs(k, size=100_000, random_state=1))
        assert pareto_smoothed(ratios)[1] == pytest.approx(k, abs=4 * (1 + k) / math.sqrt(949))


def test_ratios_that_cannot_be_smoothed_are_left_alone():
    equal, k = pareto_smoothed(np.full(200, -3.0))
    assert k == 0 and (equal == -3).all()
    two = np.where(np.arange(200) == 7, 0.0, -np.linspace(1000, 2000, 200))  # one draw has all of the weight
    smoothed, k = pareto_smoothed(two)
    assert k == math.inf and (smoothed == two).all()


# evidence


def test_of_one_component_q_is_exact():
    x, model = poisson([3, 0, 5, 2, 2], k=1, a=2.0, b=0.5)
    found = reliability(fit(model, x, EM()), x)
    wanted = log_gamma_poisson(x[:, 0], 2.0, 0.5)
    assert found.pareto_k == 0 and found.standard_error < 1e-9
    assert found.log_evidence == pytest.approx(wanted, abs=1e-9) and found.elbo == pytest.approx(wanted, abs=1e-9)
    assert "q is close to the posterior" in str(found)


def test_row_weights_count_rows():
    x, model = poisson([3, 0, 5], k=1, a=2.0, b=0.5)
    found = reliability(fit(model, x, EM(), weights=[2.0, 1.0, 3.0]), x, weights=[2.0, 1.0, 3.0])
    wanted = log_gamma_poisson(np.repeat(x[:, 0], [2, 1, 3]), 2.0, 0.5)
    assert found.log_evidence == pytest.approx(wanted, abs=1e-9)


# Each of these allows four standard errors: with ratios as tame as here, 1 in 10,000 seeds would fail.
@pytest.mark.parametrize(
    "x",
    [[2, 0, 3, 14, 9, 16], [2, 3, 1, 6, 4, 3], [3, 3, 3, 3, 3, 2]],
    ids=["modes apart", "modes overlap", "one mode"],
)
def test_the_evidence_is_that_of_all_z(x):
    x, model = poisson(x)
    made = fit(model, x, EM(), restarts=3)
    found = reliability(made, x, draws=2000)
    wanted = log_evidence_over_z(x[:, 0], 2, 1.0, 0.1, 1.0)
    assert 0 < found.standard_error < 0.1
    assert abs(found.log_evidence - wanted) < 4 * found.standard_error
    noise = 4 * 2 / math.sqrt(2000)
    assert float(made.bounds[-1]) * len(x) - noise < found.elbo < wanted + noise


def test_of_three_components_too():
    x, model = poisson([0, 1, 9, 11, 40, 44, 10], k=3)
    found = reliability(fit(model, x, EM(), restarts=5), x, draws=2000)
    assert abs(found.log_evidence - log_evidence_over_z(x[:, 0], 3, 1.0, 0.1, 1.0)) < 4 * found.standard_error


@pytest.mark.parametrize(("k", "named"), [(2, [0, 1]), (3, [0])], ids=["all", "one of three"])
def test_labels_name_components_and_are_data(k, named):
    x, model = poisson([0, 1, 11, 10, 40, 44] if k == 3 else [2, 14, 1, 3, 9, 16], k=k)
    labels = [*named, *[-1] * (6 - len(named))]
    found = reliability(fit(model, x, EM(), labels=labels, restarts=5), x, labels=labels, draws=2000)
    wanted = log_evidence_over_z(x[:, 0], k, 1.0, 0.1, 1.0, labels)
    assert abs(found.log_evidence - wanted) < 4 * found.standard_error + 1e-3


def test_of_a_guide_too_where_modes_are_apart():
    x, model = poisson([5, 6, 4, 7, 5, 30, 28, 33, 31, 29], guide=AutoNormal)
    found = reliability(fit(model, x, SVI(), max_passes=60), x, draws=400)
    wanted = log_evidence_over_z(x[:, 0], 2, 1.0, 0.1, 1.0)
    assert found.pareto_k < 0.7 and abs(found.log_evidence - wanted) < 4 * found.standard_error


def test_relabelling_changes_nothing():
    x, model = poisson([2, 3, 1, 6, 4, 3])
    made = fit(model, x, EM()).model
    before = reliability(made, x)
    made.permute([1, 0])
    after = reliability(made, x)
    assert abs(before.log_evidence - after.log_evidence) < 4 * math.hypot(before.standard_error, after.standard_error)


def test_a_narrow_q_is_found_out(faithful):
    made = fit(BayesianMixture(Gaussian(2, 2)), faithful, EM()).model
    good = reliability(made, faithful)
    made.shares.concentration = made.shares.concentration * 20
    made.beliefs.location_weight = made.beliefs.location_weight * 20
    bad = reliability(made, faithful)
    assert bad.pareto_k > 0.7 and bad.elbo < good.elbo - 1 and "too far" in str(bad)


@pytest.mark.parametrize(
    "model",
    [
        BayesianMixture(Gaussian(3, 2, "tied")),
        BayesianMixture(Gaussian(2, 2, "spherical")),
        BayesianMixture(Gaussian(2, 2, "diag"), stick_breaking=True),
        BayesianMixture(Product(Gaussian(2, 1), Gaussian(2, 1, "spherical"))),
        BayesianMixture(Gaussian(7, 2, "diag")),
    ],
    ids=["tied", "spherical", "sticks", "product", "seven"],
)
def test_every_shape_has_an_evidence_above_its_bound(model, faithful):
    made = fit(model, faithful, EM(), max_passes=50)
    found = reliability(made, faithful, draws=400)
    assert float(made.bounds[-1]) * 272 - 0.5 < found.elbo < found.log_evidence
    assert found == reliability(made, faithful, draws=400)


def test_of_categories(faithful):
    x = (faithful > faithful.median()).astype(float).to_numpy()
    made = fit(BayesianMixture(Categorical(1, [2, 2])), x, EM())
    counts = np.stack([x.sum(0), 272 - x.sum(0)], -1)
    alpha = made.model.beliefs.priors.hyperparameter("probs", "concentration").numpy()
    whole = gammaln(alpha.sum(-1)) - gammaln(alpha).sum(-1)
    wanted = (whole + gammaln(alpha + counts[:, ::-1]).sum(-1) - gammaln(alpha.sum(-1) + 272)).sum()
    assert reliability(made, x).log_evidence == pytest.approx(wanted, abs=1e-9)


# words and errors


@pytest.mark.parametrize(
    ("k", "words"), [(-0.2, "q is close"), (0.49, "q is close"), (0.6, "usable"), (0.7, "too far"), (math.inf, "inf")]
)
def test_the_words_are_those_of_k(k, words):
    assert words in str(Reliability(k, -10.0, 0.1, -11.0, 1000))


def test_what_has_no_density_is_refused(faithful, as_users_run_it):
    point = fit(BayesianMixture(Poisson(1, 1), gamma(2, 1), guide=AutoDelta), [[1.0], [2.0]], EM())
    with pytest.raises(TypeError, match="q is a point"):
        reliability(point, [[1.0], [2.0]])
    model = BayesianMixture(Poisson(1, 1), gamma(2, 1))
    made = fit(model, [[1.0], [2.0]], EM()).model
    with pytest.raises(ValueError, match="draws is 20, expected a whole number of at least 100"):
        reliability(made, [[1.0], [2.0]], draws=20)
    made.set_draws(made.draw(100, 0), PosteriorDraws(2, 50), torch.tensor(0.0).double())
    with pytest.raises(TypeError, match="r_hat"):
        reliability(made, [[1.0], [2.0]])
    with pytest.raises(TypeError, match="got Gaussian, expected a BayesianMixture"):
        reliability(Gaussian(1, 2), faithful)


# relabellings


@pytest.mark.parametrize(
    "family",
    [
        Gaussian(3, 2),
        Gaussian(3, 2, "tied-diag"),
        Product(Gaussian(3, 1, "spherical"), Categorical(3, [3])),
        Poisson(4, 2),
    ],
    ids=["full", "tied", "product", "four"],
)
@pytest.mark.parametrize("named", [[], [2]], ids=["all", "one is named"])
def test_the_mean_density_of_relabellings_is_that_of_all_permutations(family, named):
    x = np.random.default_rng(0).poisson(2.0, (20, 2)).clip(0, 2).astype(float)
    model = fit(BayesianMixture(family, concentration=0.8), x, EM(), max_passes=4).model
    theta, log_q = model.draw_with_density(9, 1)
    k = family.components
    each = []
    for order in itertools.permutations(range(k)):
        if all(order[j] == j for j in named):
            moved = {n: v if n in model.beliefs.shared else v[:, list(order)] for n, v in theta.items()}
            sites = [*model.shares.posterior(moved), *model.beliefs.posterior(moved)]
            each.append(sum(site.log_prob(moved[name]) for name, site in sites))
    wanted = torch.logsumexp(torch.stack(each), 0) - math.log(len(each))
    found = log_permutation_averaged_density(model, theta, model.exchangeable(named))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(each[0], log_q)  # the first order changes nothing


def test_a_permanent_of_ones_counts_permutations_and_forbidden_pairs():
    ones = torch.zeros(1, 12, 12).double()
    torch.testing.assert_close(log_permanent(ones), torch.tensor([math.lgamma(13)]).double())
    k = 6  # derangements: 265
    torch.testing.assert_close(
        log_permanent(ones[:, :k, :k].masked_fill(torch.eye(k, dtype=torch.bool), -torch.inf)).exp(),
        torch.tensor([265.0]).double(),
    )


def test_labellings_are_of_components_that_neither_labels_nor_priors_tell_apart():
    x = np.array([0.0, 1, 0, 40, 44, 10, 9, 11])[:, None]
    made = fit(poisson(x, 4, concentration=0.01)[1], x, EM(), restarts=5).model
    empty = int((made.shares.counts() < 1).sum())
    assert empty == 1
    assert made.log_labellings() == pytest.approx(math.log(24))
    full = int((made.shares.counts() >= 1).nonzero()[0])  # three that are not empty: two, if one is named
    assert made.log_labellings([full, -1, -1]) == pytest.approx(math.log(6))
    assert made.log_labellings(range(4)) == 0
    prior = {"loc": dist.Normal(torch.tensor([[0.0], [0.0], [5.0], [0.0]]).double(), 2.0), "scale": dist.Gamma(2, 1)}
    apart = seed(BayesianMixture(Gaussian(4, 1, "diag"), prior, guide=AutoNormal), x)
    assert apart.exchangeable().double().tolist() == [[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]]
    assert apart.log_labellings() == pytest.approx(math.log(6))
    assert apart.log_labellings([0]) == pytest.approx(math.log(2))
    assert seed(BayesianMixture(Poisson(3, 1), stick_breaking=True), x).log_labellings() == 0


def test_beyond_twelve_components_empty_ones_are_one(monkeypatch):
    """The fallback counts relabellings: of nine empty components out of ten there are ten, not 10!."""
    x, model = poisson(np.arange(10) + 12, k=10, concentration=0.001)
    made = fit(model, x, EM(), restarts=3).model
    assert int((made.shares.counts() < 1).sum()) == 9
    exact = reliability(made, x, draws=400)
    monkeypatch.setattr("lowerbound.inference.criticism.reliability.MAX_COMPONENTS", 9)
    counted = reliability(made, x, draws=400)
    # the bounds of one mode and of the mixture of ten that do not overlap
    assert counted.elbo == pytest.approx(exact.elbo, abs=0.05)


def test_a_comparison_has_bounds_below_the_evidence_of_labelled_rows():
    x, model = poisson([0, 1, 11, 10, 40, 44], k=3)
    rows = Rows(x, labels=[0, -1, -1, -1, -1, -1])
    found = fit(model, rows, EM(), restarts=5)
    frame = compare(rows, vb=found).frame()
    wanted = log_evidence_over_z(x[:, 0], 3, 1.0, 0.1, 1.0, [0, -1, -1, -1, -1, -1])
    assert frame["bound"]["vb"] == pytest.approx(float(found.bounds[-1]) * 6 + math.log(2))
    assert frame["bound"]["vb"] < wanted + 1e-9
    assert candidate_scores(found, rows)["bound"] == pytest.approx(frame["bound"]["vb"])

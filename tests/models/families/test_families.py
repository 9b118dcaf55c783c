"""One table of every family, and everything that must hold for each; the oracles are scipy's, in families.py."""

import numpy as np
import pyro
import pytest
import torch
from families import LEVELS, TABLE, WEIGHTS
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from pyro.infer import Trace_ELBO
from reference import bits
from scipy import optimize, stats
from scipy.special import logsumexp

from lowerbound.inference import EM, SVI, elbo_gap, fit, load
from lowerbound.inference.engines.convergence import ROUNDING_FALL
from lowerbound.models import LatentModel, Mixture, SupportsEM

N = 60
ROW_WEIGHTS = np.random.default_rng(1).integers(0, 4, N).astype(float)  # some of them zero
GENERALIZED = {"weibull", "laplace"}


def names(*without, **wanted):
    return [n for n, c in TABLE.items() if n not in without and all(getattr(c, k) == v for k, v in wanted.items())]


def labels_of(z):
    """Every third row known."""
    return np.where(np.arange(len(z)) % 3 == z // 2, z, -1)


every = pytest.mark.parametrize("name", names())
# Without the laplace, whose kink EM may stop at, and one t of two: degrees of freedom on their way to infinity take EM
# thousands of passes.
smooth = pytest.mark.parametrize("name", names("laplace", "student"))
given = pytest.mark.parametrize(("weighted", "labelled"), [(0, 0), (1, 0), (0, 1), (1, 1)])
near = dict(rtol=1e-10, atol=1e-9)


@every
def test_log_prob_is_scipys(name):
    case = TABLE[name]
    model, (x, _) = case.set(case.model()), case.data(N)
    wanted = case.law.log_density(case.parameters, x)
    rows = torch.as_tensor(x)
    np.testing.assert_allclose(model.family.log_prob(rows).detach(), wanted, **near)
    np.testing.assert_allclose(model.family.component().log_prob(rows[:, None]).detach(), wanted, **near)
    some = model.family.component(torch.tensor([2, 0])).log_prob(rows[:, None]).detach()
    np.testing.assert_allclose(some, wanted[:, [2, 0]], **near)
    for key, value in case.read(model).items():  # and what was set is what is read
        np.testing.assert_allclose(value, case.parameters[key], rtol=1e-14)
    assert isinstance(model, LatentModel)
    assert isinstance(model, SupportsEM)


@every
def test_the_gap_is_the_brute_force_one(name):
    case = TABLE[name]
    model, (x, _) = case.set(case.model()), case.data(N)
    joint = case.log_joint(model, x, None)
    evidence = logsumexp(joint, axis=1)
    q = np.random.default_rng(0).dirichlet(np.ones(3), size=N)
    gap = elbo_gap(model, x, torch.as_tensor(q))
    np.testing.assert_allclose(gap.evidence, evidence, **near)
    np.testing.assert_allclose(gap.elbo, (q * (joint - np.log(q))).sum(1), **near)
    np.testing.assert_allclose(gap.kl, evidence - gap.elbo.numpy(), **near)
    np.testing.assert_allclose(elbo_gap(model, x).elbo, joint.max(1) if case.hard else evidence, **near)


@given
@every
def test_every_road_to_the_bound_arrives_at_the_brute_force_sum(name, weighted, labelled):
    case = TABLE[name]
    model, (x, z) = case.set(case.model()), case.data(N)
    weights, labels = (ROW_WEIGHTS if weighted else None), (labels_of(z) if labelled else None)
    w = np.ones(N) if weights is None else weights
    joint = case.log_joint(model, x, labels)
    local = joint.max(1) if case.hard else logsumexp(joint, axis=1)

    np.testing.assert_allclose(model.bound(x, labels), local, **near)
    np.testing.assert_allclose(model.objective(x, labels).detach(), local, **near)
    statistics = model.expect(x, weights, labels)
    np.testing.assert_allclose(statistics.bound, local @ w, **near)
    assert statistics.total_weight == w.sum()
    for draw in range(2):  # whatever z is drawn, log p(x, z) - log q(z | x) is the bound
        pyro.set_rng_seed(draw)
        np.testing.assert_allclose(-Trace_ELBO().loss(model.model, model.guide, x, weights, labels), local @ w, **near)

    if model.has_expected_log_joint:  # Fisher's identity
        free = [p for p in model.parameters() if p.requires_grad]
        of_sums = torch.autograd.grad(model.expected_log_joint(statistics), free)
        of_rows = torch.autograd.grad(model.objective(x, labels) @ torch.as_tensor(w), free)
        for a, b in zip(of_sums, of_rows, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)

    share = np.eye(3)[joint.argmax(1)] if case.hard else np.exp(joint - local[:, None])  # Bayes' rule
    np.testing.assert_allclose(model.posterior(x, labels).probs, share, atol=1e-10)
    np.testing.assert_allclose(statistics.weight, w @ share, rtol=1e-10)


@pytest.mark.parametrize("name", names(exact=True))
def test_the_m_step_of_an_exact_family_has_no_gradient_left(name):
    case = TABLE[name]
    family, (x, _) = case.set(case.model()).family, case.data(N)
    rows = torch.as_tensor(x)
    share = torch.as_tensor(np.random.default_rng(3).dirichlet(np.ones(3), N))  # all soft: the maximum is inside

    def slopes():
        value = (share * family.log_prob(rows)).sum() / N
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(family.parameters()))])

    assert slopes().norm() > 0.1
    family.maximize(share.sum(0), family.summarize(rows, share))
    assert slopes().norm() < 1e-12


@pytest.mark.parametrize(("weighted", "labelled"), [(0, 0), (1, 1)])
@smooth
def test_the_bounds_of_em_never_fall_and_end_where_the_gradient_is_zero(name, weighted, labelled):
    """From the table's parameters, until 1e-12 nats per row are left; from a drawn start, which may have far to go, for
    25 passes. A gradient of 1e-5 nats per row moves the bound by 1e-10 for a parameter of curvature 1."""
    case = TABLE[name]
    x, z = case.data(120)
    given = dict(
        weights=np.tile(ROW_WEIGHTS, 2) if weighted else None,
        labels=labels_of(z) if labelled else None,
    )
    drawn = fit(case.model(), x, EM(tol=0), max_passes=25, **given)
    ended = fit(case.set(case.model()), x, EM(tol=1e-12), max_passes=3000, **given)
    for result in (drawn, ended):
        bounds = result.bounds.numpy()
        assert (np.diff(bounds) / (1 + np.abs(bounds[1:]))).min() >= -ROUNDING_FALL
    assert ended.bounds[-1] > ended.bounds[0] + 1e-3
    assert ended.converged
    assert ended.gradient_norm < 1e-5


@pytest.mark.parametrize("name", names(hard=False))
def test_samples_have_the_moments_that_scipy_gives(name):
    """5 standard errors on at most 65 numbers x 13: a false alarm in 5e-4 of seeds."""
    case = TABLE[name]
    model, n = case.set(case.model()), 20_000
    rows, z = (t.numpy() for t in model.sample(n, seed=1, labels=True))
    share = np.bincount(z, minlength=3) / n
    assert (np.abs(share - WEIGHTS) < 5 * np.sqrt(WEIGHTS * (1 - WEIGHTS) / n)).all()
    mean, covariance = case.law.moments(case.parameters)
    for j in range(3):
        own = rows[z == j] - mean[j]
        products = own[:, :, None] * own[:, None, :]
        root = np.sqrt(len(own))
        assert (np.abs(own.mean(0)) < 5 * own.std(0) / root).all()
        assert (np.abs(products.mean(0) - covariance[j]) < 5 * products.std(0) / root).all()
    found = model.family.moments()
    known = ~np.isnan(found.mean.numpy())  # of categories there are none
    assert known.any() or name == "categorical"
    np.testing.assert_allclose(found.mean.numpy()[known], mean[known], rtol=1e-9)
    both = known[:, :, None] & known[:, None, :]
    np.testing.assert_allclose(found.covariance.numpy()[both], covariance[both], rtol=1e-8, atol=1e-12)


@every
def test_a_row_of_weight_two_is_two_rows(name):
    case = TABLE[name]
    x, _ = case.data(N)
    model = case.set(case.model())
    weighted = fit(model, x, EM(tol=0), weights=ROW_WEIGHTS, max_passes=6)
    repeated = fit(model, x.repeat(ROW_WEIGHTS.astype(int), 0), EM(tol=0), max_passes=6)
    torch.testing.assert_close(weighted.bounds, repeated.bounds, rtol=1e-10, atol=0)
    other = case.read(repeated.model)
    for key, value in case.read(weighted.model).items():
        np.testing.assert_allclose(value, other[key], rtol=1e-7, atol=1e-10)
    alike = fit(model, x, EM(tol=0), max_passes=6)
    assert (alike.bounds - weighted.bounds).abs().max() > 1e-3  # the weights do matter


@every
def test_relabelling_changes_nothing_but_the_labels(name):
    case, order = TABLE[name], [2, 0, 1]  # not its own inverse
    model, (x, _) = case.set(case.model()), case.data(N)
    parts, statistics = case.log_joint(model, x), model.expect(x)
    model.permute(order)
    joint = parts[:, order]
    np.testing.assert_allclose(model.bound(x), joint.max(1) if case.hard else logsumexp(joint, axis=1), **near)
    found = model.family.log_prob(torch.as_tensor(x)).detach() + model.weights.log().detach()
    np.testing.assert_allclose(found, joint, **near)
    torch.testing.assert_close(model.expect(x).total, statistics.total[order], rtol=1e-9, atol=1e-9)


@settings(max_examples=6)
@drawn(cut=st.integers(1, N - 1), weighted=st.booleans(), labelled=st.booleans())
@every
def test_statistics_add_over_any_two_parts(name, cut, weighted, labelled):
    case = TABLE[name]
    model, (x, z) = case.set(case.model()), case.data(N)
    given = (x, ROW_WEIGHTS if weighted else None, labels_of(z) if labelled else None)
    whole = model.expect(*given)
    parts = model.expect(*(a if a is None else a[:cut] for a in given)) + model.expect(
        *(a if a is None else a[cut:] for a in given)
    )
    scale = whole.total.abs().max()
    for attribute in ("weight", "total", "bound", "total_weight", *(["distortion"] if case.hard else [])):
        torch.testing.assert_close(
            getattr(parts, attribute), getattr(whole, attribute), rtol=1e-11, atol=float(1e-13 * scale)
        )


@pytest.mark.drawn(4)  # two seconds each
@smooth
def test_svi_reaches_the_optimum_of_em(name):
    """From the same start, to 3e-3 nats per row: the odds of probabilities that belong at 0 or 1 keep growing."""
    case = TABLE[name]
    x, _ = case.data(120)
    model = case.set(case.model())
    em = fit(model, x, EM(tol=1e-11), max_passes=2000)
    svi = fit(model, x, SVI("exact"))
    assert svi.bounds[0] == pytest.approx(float(em.bounds[0]), rel=1e-12)
    assert em.bounds[-1] - em.bounds[0] > 0.02  # there is something to reach
    assert svi.bounds.max() == pytest.approx(float(em.bounds[-1]), abs=3e-3)
    assert svi.bounds.max() <= em.bounds[-1] + 1e-7


@pytest.mark.parametrize("engine", [EM(), SVI("exact")], ids=["em", "svi"])
@pytest.mark.parametrize("name", names(*GENERALIZED))
def test_a_fit_is_read_back_to_the_same_bits(name, engine, tmp_path):
    case = TABLE[name]
    x, _ = case.data(N)
    result = fit(case.model(), x, engine, max_passes=4)
    result.save(tmp_path / "fit")
    again = load(tmp_path / "fit")
    assert bits(again.model) == bits(result.model)
    assert again.model.bound(x).numpy().tobytes() == result.model.bound(x).numpy().tobytes()
    assert again.model.sample(20, seed=1).numpy().tobytes() == result.model.sample(20, seed=1).numpy().tobytes()
    assert again.bounds.numpy().tobytes() == result.bounds.numpy().tobytes()


@every
def test_free_parameters_by_hand(name):
    case = TABLE[name]
    model = case.model()
    assert model.family.free_parameters() == case.free
    assert model.free_parameters() == case.free + (0 if case.hard else 2)
    # a prior is no parameter, nor are tempered weights
    if isinstance(model, Mixture) and name not in ("product", "kmeans"):
        assert case.model(prior="weak", concentration=2.0).free_parameters() == case.free + 2


def gamma(columns):
    found = [stats.gamma.fit(column, floc=0) for column in columns.T]
    return {"concentration": [a for a, _, _ in found], "rate": [1 / scale for _, _, scale in found]}


def shares(columns, levels):
    counts = [np.bincount(c.astype(int), minlength=max(levels)) for c in columns.T]
    return np.stack(counts) / len(columns)


def gaussian(rows):
    return {"loc": rows.mean(0), "scale_tril": np.linalg.cholesky(np.cov(rows.T, bias=True))}


# The maximum likelihood estimate from the rows of one component, as every textbook has it.
CLOSED = {
    "bernoulli": lambda x: {"probs": x.mean(0)},
    "categorical": lambda x: {"probs": shares(x, LEVELS)},
    "multinomial": lambda x: {"probs": x.sum(0) / x.sum()},
    "poisson": lambda x: {"rate": x.mean(0)},
    "exponential": lambda x: {"rate": 1 / x.mean(0)},
    "gamma": gamma,
    "product": lambda x: {
        **{f"parts.0.{name}": value for name, value in gaussian(x[:, [3, 0]]).items()},
        "parts.1.rate": x[:, [1]].mean(0),
        "parts.2.probs": shares(x[:, [2, 4]], [2, 3]),
    },
}


@pytest.mark.parametrize("name", CLOSED)
def test_em_with_every_label_is_the_closed_form(name):
    case = TABLE[name]
    x, z = case.data(N)
    x, z = x[:-5], z[:-5]  # of unequal shares
    result = fit(case.set(case.model()), x, EM(), labels=z, max_passes=2)
    np.testing.assert_allclose(result.model.weights.detach(), np.bincount(z) / len(z), rtol=1e-13)
    wanted = [CLOSED[name](x[z == j]) for j in range(3)]
    for key, value in case.read(result.model).items():
        np.testing.assert_allclose(value, np.stack([w[key] for w in wanted]), rtol=1e-8, atol=1e-14)


def test_k_means_with_every_label_is_the_closed_form():
    case = TABLE["kmeans"]
    x, z = case.data(N)
    z = (z + (np.arange(N) % 7 == 0)) % 3  # not those of the nearest centre
    model = fit(case.set(case.model()), x, EM(), labels=z, max_passes=2).model
    centres = np.stack([x[z == j].mean(0) for j in range(3)])
    np.testing.assert_allclose(model.loc.detach(), centres, rtol=1e-12)
    np.testing.assert_allclose(model.family.scale.item() ** 2, ((x - centres[z]) ** 2).mean(), rtol=1e-12)
    nearest = ((x[:, None] - centres) ** 2).sum(-1).min(1)
    np.testing.assert_allclose(model.distortion(x), nearest.sum(), rtol=1e-11)


def unpacked(flat, case):
    """Numbers without bounds to positive parameters of one component."""
    return {name: np.exp(part)[None] for name, part in zip(case.parameters, np.split(flat, 2), strict=True)}


@pytest.mark.parametrize("name", ["negative-binomial", "weibull"])
def test_em_with_every_label_is_the_maximum_that_scipy_finds(name):
    """By its general optimizer, from the likelihood alone."""
    case = TABLE[name]
    x, z = case.data(N)
    result = fit(case.set(case.model()), x, EM(tol=1e-12), labels=z, max_passes=3000)
    best = 3 * (N / 3) * np.log(1 / 3)
    for j in range(3):
        own = x[z == j]
        flat = np.log(np.concatenate([value[j] for value in case.parameters.values()]))

        def loss(v, own=own):
            return -case.law.log_density(unpacked(v, case), own).sum()

        for method in ("Nelder-Mead", "BFGS", "Nelder-Mead"):
            options = {"maxiter": 4000, "maxfev": 4000, "xatol": 1e-9, "fatol": 1e-10, "adaptive": True}
            found = optimize.minimize(loss, flat, method=method, options=options if method[0] == "N" else None)
            flat = found.x
        best -= found.fun
    assert result.bounds[-1] == pytest.approx(best / N, abs=1e-7)

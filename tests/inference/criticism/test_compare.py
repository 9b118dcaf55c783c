"""`compare`: one scale for all fits, by brute force, and what it refuses to rank."""

import copy
import math

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from reference import Poisson, data, log_evidence, log_prior, random_mixture, responsibilities
from scipy.special import rel_entr

from lowerbound import datasets
from lowerbound.inference import EM, SVI, align, compare, evidence, fit
from lowerbound.inference.criticism.aligned_components import component_tables
from lowerbound.inference.criticism.density_or_probability import column_measures
from lowerbound.models import (
    PPCA,
    VAE,
    CategoricalMixture,
    Gaussian,
    GaussianDecoder,
    GaussianMixture,
    Mixture,
    MLPEncoder,
    MultinomialMixture,
    PoissonMixture,
    Product,
    Rows,
)

X = data(n=80, d=3)
COUNTED = "probabilities of discrete data"


def one_pass(model, **kwargs):
    """A Fit of the model as it stands."""
    return fit(model, X, EM(), max_passes=1, **kwargs)


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_the_brute_force_ones(weighted):
    weights = np.random.default_rng(0).integers(0, 4, len(X)).astype(float) if weighted else None
    w = np.ones(len(X)) if weights is None else weights
    models = {
        "plain": random_mixture("full", X),
        "map": random_mixture("tied-diag", X, prior="explicit", concentration=2.0),
        "single": random_mixture("spherical", X, k=1),
    }
    comparison = compare(X, weights=weights, **{name: one_pass(model) for name, model in models.items()})
    table = comparison.frame()
    assert list(table.index) == list(models)
    for (name, model), free in zip(models.items(), (2 + 9 + 18, 2 + 9 + 3, 3 + 1), strict=True):
        row = table.loc[name]
        expected = log_evidence(model, X) @ w
        assert row.log_likelihood == pytest.approx(expected, rel=1e-11)
        assert row.elbo == pytest.approx(expected, rel=1e-11)  # the guide is exact
        assert row.nats_per_row == pytest.approx(expected / w.sum(), rel=1e-11)
        assert row.gap == pytest.approx(0, abs=1e-8)
        assert row.log_prior == pytest.approx(log_prior(model, X), rel=1e-10, abs=1e-12)
        assert row.free_parameters == free
        assert row.bic == pytest.approx(-2 * expected + free * math.log(w.sum()), rel=1e-11)
        assert row.passes == 1
    text = str(comparison)
    for name in models:
        assert name in text


def test_pairs_are_the_brute_force_ones():
    a, b = (random_mixture("full", X, draw=i) for i in (0, 3))
    order = align(a, b, X).numpy()
    comparison = compare(X, a=one_pass(a), b=one_pass(b), again=one_pass(a))
    pairs = comparison.pairs().set_index(["first", "second"])
    assert list(pairs.index) == [("a", "b"), ("a", "again"), ("b", "again")]
    expected = rel_entr(responsibilities(a, X), responsibilities(b, X)[:, order]).sum(1).mean()
    assert pairs.posterior_kl["a", "b"] == pytest.approx(expected, rel=1e-8)
    assert pairs.posterior_kl["a", "again"] == pytest.approx(0, abs=1e-12)
    assert pairs.parameter_distance["a", "again"] == 0
    spread = X.std(0)
    means = np.abs(a.family.loc.detach().numpy() - b.family.loc.detach().numpy()[order]) / spread
    assert pairs.parameter_distance["a", "b"] >= means.max() * (1 - 1e-9)


def test_relabelled_fits_are_no_distance_apart():
    a, b = random_mixture("diag", X), random_mixture("diag", X)
    b.permute([2, 0, 1])
    pair = compare(X, a=one_pass(a), b=one_pass(b)).pairs().iloc[0]
    assert pair.parameter_distance < 1e-12
    assert pair.posterior_kl < 1e-12


def test_a_distance_is_in_units_of_the_data():
    """A mean moved by a tenth of a column's spread, a scale by a tenth of itself, a weight by .05."""
    for change, expected in (("loc", 0.1), ("scale", math.log(1.1)), ("weights", 0.05)):
        a, b = random_mixture("diag", X, k=2), random_mixture("diag", X, k=2)
        a.weights, b.weights = torch.tensor([0.6, 0.4]), torch.tensor([0.6, 0.4])
        if change == "loc":
            b.family.loc = b.family.loc + 0.1 * torch.tensor(X.std(0)) * torch.tensor([[0, 1, 0], [0, 0, 0]])
        elif change == "scale":
            b.family.scale = b.family.scale * torch.tensor([[1, 1.1, 1], [1, 1, 1]], dtype=torch.float64)
        else:
            b.weights = torch.tensor([0.55, 0.45])
        pair = compare(X, a=one_pass(a), b=one_pass(b)).pairs().iloc[0]
        assert pair.parameter_distance == pytest.approx(expected, rel=1e-5), change


@pytest.mark.parametrize(
    ("first", "second"),
    [(("full", 2), ("full", 3)), (("full", 2), ("diag", 2)), (("full", 2), ("tied", 2))],
)
def test_models_of_different_kinds_have_scores_but_no_distance(first, second):
    a, b = (random_mixture(c, X, k=k) for c, k in (first, second))
    comparison = compare(X, a=one_pass(a), b=one_pass(b))
    pair = comparison.pairs().iloc[0]
    assert math.isnan(pair.parameter_distance)
    assert math.isnan(pair.posterior_kl) == (first[1] != second[1])
    assert comparison.frame().log_likelihood.notna().all()


def test_a_probability_and_a_density_are_not_ranked():
    counts = np.random.default_rng(0).poisson([2, 30], (100, 2))
    continuous = fit(Mixture(Gaussian(2, 2)), counts, EM())
    discrete = fit(Mixture(Poisson(2, 2)), counts, EM())
    with pytest.raises(ValueError, match=r"p gives probabilities of discrete data and g a density,.*cannot be ranked"):
        compare(counts, p=discrete, g=continuous)
    given = fit(MultinomialMixture(2, 2), counts, EM())  # says nothing of the sum of a row
    with pytest.raises(
        ValueError, match=r"and m probabilities of counts given the sum of their row,.*cannot be ranked"
    ):
        compare(counts, p=discrete, m=given)
    assert compare(counts, p=discrete, q=discrete).pairs().parameter_distance[0] == 0
    pyro.clear_param_store()


def test_each_column_of_a_mixed_table_has_its_measure():
    x = pd.DataFrame(np.random.default_rng(0).poisson([2, 5, 30], (60, 3)), columns=["a", "b", "c"])
    made = {
        "all": Product(Poisson(2, 2), Gaussian(2, 1), columns=[[2, 0], [1]]),
        "nested": Product(
            Product(Gaussian(2, 1), Poisson(2, 1), columns=[[1], [0]]), Poisson(2, 1), columns=[[0, 1], [2]]
        ),
        "other": Product(Poisson(2, 1), Gaussian(2, 2)),
    }
    fits = {name: fit(Mixture(family), x, EM(), max_passes=3) for name, family in made.items()}
    assert column_measures(fits["all"].model, Rows(x)) == [COUNTED, "a density", COUNTED]
    assert column_measures(fits["nested"].model, Rows(x)) == [COUNTED, "a density", COUNTED]
    compare(x, all=fits["all"], nested=fits["nested"])
    with pytest.raises(
        ValueError, match="all gives probabilities of discrete data and other a density in column 'c', e"
    ):
        compare(x, **fits)


def test_rates_are_compared_in_standard_deviations_of_a_count_even_at_zero():
    x = np.random.default_rng(0).poisson([[4.0, 9.0]], (50, 2))
    a = fit(PoissonMixture(1, 2), x, EM(), max_passes=1)
    b = copy.deepcopy(a)
    a.model.family.rate, b.model.family.rate = torch.tensor([[4.0, 0.0]]), torch.tensor([[4.41, 0.0025]])
    pair = compare(x[: 0 + 1] * 0, a=a, b=b).pairs()
    assert pair.parameter_distance[0] == pytest.approx(2 * (2.1 - 2.0))


def test_tables_name_the_categories():
    x = datasets.load("titanic")
    (table,) = component_tables(compare(x, em=fit(CategoricalMixture(2, [4, 2, 2, 2]), x, EM(), max_passes=3)))
    assert list(table.columns[1:7]) == [
        *(f"P(class = {c})" for c in ("1st", "2nd", "3rd", "crew")),
        "P(sex = female)",
        "P(sex = male)",
    ]
    np.testing.assert_allclose(table.iloc[:, 1:5].sum(axis=1), 1)


def test_one_fit_is_a_comparison_too(faithful):
    comparison = compare(faithful, only=fit(GaussianMixture(2, 2), faithful, EM()))
    assert len(comparison.frame()) == 1
    assert comparison.pairs().empty
    assert list(comparison.pairs().columns) == ["first", "second", "parameter_distance", "posterior_kl"]


def test_the_tables_are_copies(faithful):
    comparison = compare(faithful, a=fit(GaussianMixture(2, 2), faithful, SVI("exact"), max_passes=3))
    table = comparison.frame()
    table.loc["a", "bic"] = 0
    assert comparison.frame().bic["a"] != 0


def test_what_cannot_be_compared_is_refused(faithful, as_users_run_it):
    result = fit(GaussianMixture(2, 2), faithful, EM())
    with pytest.raises(ValueError, match=r"got no fits, expected some by name: compare\(x, em=fit"):
        compare(faithful)
    with pytest.raises(TypeError, match="model is a Mixture, expected what fit"):
        compare(faithful, model=result.model)
    with pytest.raises(ValueError, match="got 3 columns, expected 2"):
        compare(np.ones((5, 3)), em=result)
    with pytest.raises(ValueError, match=r"weights of shape \(3,\), expected one weight for each of 272 rows"):
        compare(faithful, weights=[1, 2, 3], em=result)


def test_rows_held_out_are_read_by_the_names_of_the_others():
    """Also where the fits know no names: they were made of arrays, in the order of the table's columns."""
    x = datasets.load("iris")
    result = fit(GaussianMixture(2, 4), x.to_numpy(), EM(), max_passes=3)
    turned = x[x.columns[::-1]]
    plain, other = (compare(x, a=result, held_out=table).frame()["held_out"]["a"] for table in (x, turned))
    assert plain == other == pytest.approx(float(result.model.bound(x.to_numpy()).mean()), rel=1e-12)


def test_the_distance_of_scales_at_their_floor_is_that_of_their_logarithms():
    x = datasets.load("iris")
    em = fit(GaussianMixture(2, 4, "diag", variance_floor=0.5), x, EM())
    near = fit(em.model, x, SVI("exact", learning_rate=1e-3), max_passes=20)
    assert bool((em.model.family.scale.detach() == 0.5**0.5).any())
    for first, second in ((em, near), (near, em)):
        assert compare(x, a=first, b=second).pairs()["parameter_distance"][0] < 0.1


def test_a_continuous_latent_has_its_evidence_and_its_error():
    x = datasets.load("iris")
    ppca = fit(PPCA(4, 2), x, EM(), max_passes=20)
    vae = fit(VAE(MLPEncoder(4, 2, (8,)), GaussianDecoder(2, 4, (8,), "shared"), 2), x, SVI("analytic"), max_passes=20)
    frame = compare(x, ppca=ppca, vae=vae, held_out=x[:30]).frame()
    assert frame["log_likelihood"]["ppca"] == pytest.approx(float(ppca.model.bound(x).sum()), rel=1e-12)
    assert frame["log_likelihood_error"]["ppca"] == frame["held_out_error"]["ppca"] == 0
    assert 0 <= frame["gap"]["ppca"] < 1e-9
    found = evidence(vae.model, x, 2000, seed=9)
    error = np.hypot(frame["log_likelihood_error"]["vae"], found.mean_error * 150)
    assert abs(frame["log_likelihood"]["vae"] - found.mean * 150) < 4 * error  # 4 standard errors, seeds fixed
    assert frame["gap"]["vae"] == pytest.approx(frame["log_likelihood"]["vae"] - frame["elbo"]["vae"], rel=1e-9)

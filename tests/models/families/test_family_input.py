"""The edges of each family: values it cannot give, tables with nothing to learn from, probabilities of 0 and 1."""

import numpy as np
import pytest
import torch
from families import TABLE, Case, Codes, Columns, Law
from scipy import stats

from lowerbound.inference import EM, SVI, fit
from lowerbound.models import (
    Bernoulli,
    Categorical,
    Exponential,
    Gamma,
    Mixture,
    Multinomial,
    NegativeBinomial,
    Poisson,
    Product,
)

pytestmark = pytest.mark.usefixtures("as_users_run_it")
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(5, (20, 2)).astype(float)
SIZES = RNG.gamma(2.0, 1.0, (20, 2))
YES = (COUNTS > 5).astype(float)
HALF = np.array([0.5, 0.5])


def spoiled(x, row, column, value):
    x = x.copy()
    x[row, column] = value
    return x


counts = "expected counts, whole numbers of at least 0"
CELLS = {
    **{
        f"{family.__name__} {value:g}": (lambda f=family: f(2, 2), COUNTS, value, counts)
        for family in (Poisson, Multinomial, NegativeBinomial)
        for value in (-1.0, 1.5)
    },
    "Bernoulli 2": (lambda: Bernoulli(2, 2), YES, 2.0, "expected 0 or 1"),
    "Categorical 2": (lambda: Categorical(2, [2, 2]), YES, 2.0, r"expected the code of a category, 0 \.\. 1"),
    "Categorical 7": (lambda: Categorical(2, [2, 3]), YES, 7.0, r"0 \.\. levels - 1, with levels \[2, 3\]"),
    "Gamma 0": (lambda: Gamma(2, 2), SIZES, 0.0, "expected positive numbers"),
    "Exponential -0.5": (lambda: Exponential(2, 2), SIZES, -0.5, "expected numbers of at least 0"),
    "Product 1.5": (
        lambda: Product(Gamma(2, 1), Poisson(2, 1)),
        np.c_[SIZES[:, 0], COUNTS[:, 0]],
        1.5,
        "in column 1 counts, whole",
    ),
}


@pytest.mark.parametrize(("make", "x", "value", "words"), CELLS.values(), ids=CELLS.keys())
def test_a_cell_that_no_component_can_give_is_named_at_fit_and_after(make, x, value, words):
    bad, message = spoiled(x, 3, 1, value), rf"row 3, column 1 holds {value:g}, .*{words}"
    with pytest.raises(ValueError, match=message):
        fit(Mixture(make()), bad, EM())
    model = fit(Mixture(make()), x, EM(), max_passes=2).model
    for method in (model.bound, model.posterior, model.model, model.guide):
        with pytest.raises(ValueError, match=message):
            method(bad)


# Twenty rows of (3, 1): the log-likelihood per row of one component, in closed form.
SAME = np.tile([[3.0, 1.0]], (20, 1))
POISSON = stats.poisson.logpmf([3, 1], [3, 1]).sum()
ALIKE = {
    "Bernoulli": (lambda k: Bernoulli(k, 2), np.ones((20, 2)), 0.0),
    "Categorical": (lambda k: Categorical(k, [4, 3]), SAME, 0.0),
    "Multinomial": (lambda k: Multinomial(k, 2), SAME, stats.multinomial.logpmf([3, 1], 4, [0.75, 0.25])),
    "Poisson": (lambda k: Poisson(k, 2), SAME, POISSON),
    "Exponential": (lambda k: Exponential(k, 2), SAME, stats.expon.logpdf([3, 1], scale=[3, 1]).sum()),
    "NegativeBinomial": (lambda k: NegativeBinomial(k, 2), SAME, POISSON),  # its limit
}


@pytest.mark.parametrize(("make", "x", "wanted"), ALIKE.values(), ids=ALIKE.keys())
def test_rows_that_are_all_alike(make, x, wanted):
    result = fit(Mixture(make(1)), x, EM())
    assert float(result.bounds[-1]) == pytest.approx(wanted, abs=1e-7)
    assert result.gradient_norm < 1e-6
    with pytest.raises(ValueError, match=r"1 distinct row .*expected at least one for each of 2 components"):
        fit(Mixture(make(2)), x, EM())
    with pytest.raises(ValueError, match=r"got 3 rows, expected at least one for each of 5 components"):
        fit(Mixture(make(5)), x[:3], EM())


def test_columns_without_anything_to_learn():
    one = np.c_[YES, np.zeros(20)]  # of one category: no free parameter, no effect
    few, more = Mixture(Categorical(2, [2, 2])), Mixture(Categorical(2, [2, 2, 1]))
    assert more.free_parameters() == few.free_parameters() == 5
    torch.testing.assert_close(
        fit(more, one, EM(), max_passes=3).bounds, fit(few, YES, EM(), max_passes=3).bounds, rtol=1e-12, atol=0
    )
    with pytest.raises(ValueError, match=r"column 2 has the same value in every row.*drop the column"):
        fit(Mixture(Gamma(1, 3)), np.c_[SIZES, np.full(20, 2.0)], EM())
    held = fit(Mixture(Gamma(1, 3, prior="weak")), np.c_[SIZES, np.full(20, 2.0)], EM()).model.family
    assert held.moments().mean[0, 2] == pytest.approx(2.0, rel=1e-9)
    with pytest.raises(ValueError, match="column 2 is 0 in every row, expected some positive number: drop the column"):
        fit(Mixture(Exponential(1, 3)), np.c_[SIZES, np.zeros(20)], EM())


@pytest.mark.parametrize("engine", [EM(), SVI("exact")], ids=["em", "svi"])
@pytest.mark.parametrize("prior", [None, "weak"])
@pytest.mark.parametrize(("family", "name"), [(Poisson, "rate"), (NegativeBinomial, "mean")])
def test_a_column_of_zeros_has_a_rate_of_zero(family, name, prior, engine):
    """Without a prior; with Poisson's weak one of a column of zeros, Gamma(1 + 1 / k, 1 / k), 1 / (20 + 1)."""
    model = Mixture(family(1, 3, prior=prior))
    result = fit(model, np.c_[COUNTS, np.zeros(20)], engine)
    rate = getattr(result.model.family, name).detach()[0]
    wanted = 1 / 21 if prior and family is Poisson else 0.0
    assert rate[2] == pytest.approx(wanted, abs=1e-12 if isinstance(engine, EM) else 1e-3)
    if not prior:
        np.testing.assert_allclose(rate[:2], COUNTS.mean(0), rtol=1e-12 if isinstance(engine, EM) else 1e-2)
    assert np.isfinite(result.gradient_norm)


@pytest.mark.parametrize("make", [Poisson, NegativeBinomial, Multinomial])
def test_counts_of_a_million(make):
    x = COUNTS * 1e6
    model = fit(Mixture(make(1, 2)), x, EM(), max_passes=200).model
    p = {name: getattr(model.family, name).detach().numpy()[0] for name in model.family._pyro_params}
    if make is Multinomial:
        wanted = stats.multinomial.logpmf(x, x.sum(1).astype(int), p["probs"])
        np.testing.assert_allclose(p["probs"], x.sum(0) / x.sum(), rtol=1e-12)
    elif make is Poisson:
        wanted = stats.poisson.logpmf(x, p["rate"]).sum(1)
    else:
        c = p["concentration"]
        wanted = stats.nbinom.logpmf(x, c, c / (c + p["mean"])).sum(1)
    np.testing.assert_allclose(model.bound(x), wanted, rtol=1e-7)


def test_counts_that_vary_too_little_are_poissons():
    x = RNG.binomial(20, 0.9, (40, 2)).astype(float)
    result = fit(Mixture(NegativeBinomial(1, 2)), x, EM(), max_passes=3000)
    wanted = stats.poisson.logpmf(x, x.mean(0)).sum(1)
    assert float(result.bounds[-1]) == pytest.approx(wanted.mean(), abs=1e-6)
    np.testing.assert_allclose(result.model.bound(x), wanted, atol=1e-5)


# Parameters at the boundary, rows that only one component can give, and one that none can.
CERTAIN = {
    "bernoulli": (
        Case(lambda k: Bernoulli(k, 3), TABLE["bernoulli"].law, {"probs": np.array([[0, 1, 0.5], [1, 0, 0.25]])}, 6),
        [[0, 1, 0], [0, 1, 1], [1, 0, 1], [1, 0, 0]],
        [0, 0, 1],
    ),
    "categorical": (
        Case(
            lambda k: Categorical(k, [2, 3]),
            Codes(),
            {"probs": np.array([[[0, 1, 0], [0.5, 0.25, 0.25]], [[1, 0, 0], [0.5, 0.5, 0]]])},
            6,
        ),
        [[1, 0], [1, 2], [0, 1], [0, 0]],
        [0, 2],
    ),
    "multinomial": (
        Case(
            lambda k: Multinomial(k, 3),
            TABLE["multinomial"].law,
            {"probs": np.array([[0.5, 0.5, 0], [0, 0.5, 0.5]])},
            4,
        ),
        [[2, 1, 0], [0, 4, 0], [0, 1, 7], [0, 0, 0]],
        [1, 0, 1],
    ),
    "poisson": (
        Case(lambda k: Poisson(k, 2), TABLE["poisson"].law, {"rate": np.array([[0.0, 3.0], [4.0, 0.0]])}, 4),
        [[0, 3], [0, 5], [2, 0], [0, 0]],
        [1, 1],
    ),
    "negative-binomial": (
        Case(
            lambda k: NegativeBinomial(k, 2),
            Columns(
                lambda p: Law(stats.nbinom, p["concentration"], p["concentration"] / (p["concentration"] + p["mean"]))
            ),
            {"mean": np.array([[0.0, 3.0], [4.0, 0.0]]), "concentration": np.array([[1.0, 2.0], [3.0, 4.0]])},
            8,
        ),
        [[0, 3], [0, 5], [2, 0], [0, 0]],
        [1, 1],
    ),
}


@pytest.mark.parametrize(("case", "x", "never"), CERTAIN.values(), ids=CERTAIN.keys())
def test_probabilities_of_exactly_0_and_1(case, x, never):
    x, never = np.array(x, float), np.array([never], float)
    model = case.set(case.model(2), weights=HALF)
    for name, value in case.read(model).items():
        assert (value[(case.parameters[name] == 0) | (case.parameters[name] == 1)] % 1 == 0).all()
        np.testing.assert_allclose(value, case.parameters[name], rtol=1e-15)
    log = case.law.log_density(case.parameters, x)
    assert np.isneginf(log).any()
    np.testing.assert_allclose(model.family.log_prob(torch.as_tensor(x)).detach(), log, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(model.bound(x), case.log_evidence(model, x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(model.expect(x).bound.item(), case.log_evidence(model, x).sum(), rtol=1e-12)
    assert not torch.isnan(model.posterior(x).probs).any()

    assert np.isneginf(case.law.log_density(case.parameters, never)).all()
    assert (model.bound(never) == -torch.inf).all()
    with pytest.raises(ArithmeticError, match="probability zero under every component"):
        model.expect(np.concatenate([x, never]))
    weights = np.append(np.ones(len(x)), 0.0)  # an impossible row of weight 0 does not matter
    assert torch.isfinite(model.expect(np.concatenate([x, never]), weights).bound)

    em = fit(model, x, EM(), max_passes=50)
    svi = fit(model, x, SVI("exact"), max_passes=300)
    for result in (fit(model, x, EM(), max_passes=1), em, svi):
        assert np.isfinite(result.gradient_norm)
        assert torch.isfinite(result.bounds).all()
    assert float(svi.bounds[0]) == pytest.approx(float(em.bounds[0]), abs=1e-9)  # lifted by too little to matter
    assert float(svi.bounds.max()) == pytest.approx(float(em.bounds[-1]), abs=0.03)


@pytest.mark.parametrize("levels", [[2.5, 2], [0, 2], []])
def test_levels_are_whole_numbers(levels):
    with pytest.raises(ValueError, match="expected a whole number of at least 1"):
        Categorical(2, levels)

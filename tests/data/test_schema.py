"""A fitted model reads new tables as it read its own: columns by name, categories by word."""

import numpy as np
import pandas as pd
import pytest
from pyro.distributions import Laplace

from lowerbound.inference import EM, SVI, align, compare, elbo_gap, fit, load
from lowerbound.models import (
    PPCA,
    BayesianMixture,
    Categorical,
    CategoricalMixture,
    FamilyOf,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    PoissonMixture,
    Product,
    Rows,
    StudentTMixture,
    linear_vae,
    seed,
)


@pytest.fixture(scope="module")
def survey():
    rng = np.random.default_rng(0)
    z = rng.integers(2, size=300)
    transport = np.where(rng.random(300) < 0.8, np.where(z == 0, "bike", "train"), "car")
    answer = np.where(rng.random(300) < 0.85, np.where(z == 0, "no", "yes"), "no")
    return pd.DataFrame({"transport": transport, "answer": answer}).astype("category")


@pytest.fixture(scope="module")
def fitted(survey):
    return fit(CategoricalMixture(2, [3, 2]), survey, EM(), restarts=3)


def test_few_new_rows_are_read_by_their_words_not_by_their_own_codes(survey, fitted):
    known = fitted.model.posterior(survey).probs.numpy()
    for rows in ([7, 3], [0], [5, 5, 9]):
        new = pd.DataFrame(survey.astype(str).iloc[rows].to_numpy(), columns=survey.columns).astype("category")
        np.testing.assert_array_equal(fitted.model.posterior(new).probs, known[rows])
        np.testing.assert_array_equal(fitted.model.bound(new), fitted.model.bound(survey)[rows])
        np.testing.assert_array_equal(
            elbo_gap(fitted.model, new).evidence, elbo_gap(fitted.model, survey).evidence[rows]
        )
        assert fitted.model.expect(new).bound.item() == pytest.approx(fitted.model.bound(survey)[rows].sum().item())
        np.testing.assert_array_equal(fitted.model.predict(new), known[rows].argmax(1))
        frame = compare(new, em=fitted).frame()
        assert frame.log_likelihood["em"] == pytest.approx(fitted.model.bound(survey)[rows].sum().item())


def test_other_orders_of_columns_and_words_change_nothing(survey, fitted):
    other = survey[["answer", "transport"]].copy()
    other["transport"] = other["transport"].cat.reorder_categories(["train", "car", "bike"])
    np.testing.assert_array_equal(fitted.model.bound(other), fitted.model.bound(survey))
    again = fit(fitted.model, other, EM(), max_passes=1)
    assert float(again.bounds[0]) == pytest.approx(float(fitted.bounds[-1]), abs=1e-12)
    np.testing.assert_array_equal(align(fitted.model, fitted.model, Rows(other)), [0, 1])
    words = pd.DataFrame(survey.astype(str))  # not categories: words that the model knows
    np.testing.assert_array_equal(fitted.model.bound(words), fitted.model.bound(survey))


def test_numbers_are_taken_by_name_too(faithful):
    result = fit(GaussianMixture(2, 2), faithful, EM())
    swapped = faithful[["waiting", "eruptions"]]
    np.testing.assert_array_equal(result.model.bound(swapped), result.model.bound(faithful))
    np.testing.assert_array_equal(result.model.bound(faithful.to_numpy()), result.model.bound(faithful))
    renamed = faithful.set_axis(["a", "b"], axis=1)  # nothing to go by
    np.testing.assert_array_equal(result.model.bound(renamed), result.model.bound(faithful))


def test_what_the_model_never_saw_is_refused_by_its_word(survey, fitted, faithful):
    strange = survey.astype(str)
    strange.loc[4, "transport"] = "scooter"
    for call in (fitted.model.posterior, fitted.model.expect, lambda x: compare(x, em=fitted)):
        with pytest.raises(
            ValueError, match="row 4, column 'transport' holds 'scooter', expected one of bike, car, train"
        ):
            call(strange.astype("category"))
    with pytest.raises(ValueError, match="got columns transport, reply, expected those of the fit, transport, answer"):
        fitted.model.posterior(survey.rename(columns={"answer": "reply"}))
    gaussian = fit(GaussianMixture(1, 2), faithful, EM()).model
    with pytest.raises(ValueError, match="column 'waiting' holds category values, expected numbers"):
        gaussian.bound(faithful.astype({"waiting": "category"}))


def test_summary_and_file_keep_the_words(fitted, tmp_path):
    fitted.save(tmp_path / "survey.safetensors")
    again = load(tmp_path / "survey.safetensors").model
    assert again.schema == fitted.model.schema
    for model in (fitted.model, again):
        assert {"P(transport = bike)", "P(answer = yes)"} <= set(model.summary())
    assert "P(transport = 0)" in fitted.model.summary(levels=[None, None])


def test_fits_to_tables_of_different_order_are_not_compared(survey, fitted):
    svi = fit(CategoricalMixture(2, [2, 3]), survey[["answer", "transport"]], SVI("exact"), max_passes=5)
    with pytest.raises(ValueError, match="svi was fitted to columns or categories in another order than em"):
        compare(survey, em=fitted, svi=svi)


def test_columns_that_a_model_does_not_need_are_left_out(survey, fitted, faithful, tmp_path):
    """In every method, of a mixture and of PPCA, from a DataFrame, Rows and a Parquet file."""
    more = survey.assign(day=pd.Timestamp(0), person=[f"p{i}" for i in range(300)])[
        ["day", "answer", "person", "transport"]
    ]
    for method in ("bound", "evidence", "predict"):
        np.testing.assert_array_equal(getattr(fitted.model, method)(more), getattr(fitted.model, method)(survey))
    assert fitted.model.expect(more).bound == fitted.model.expect(survey).bound
    assert compare(more, em=fitted).frame().equals(compare(survey, em=fitted).frame())
    table = faithful.assign(id=range(len(faithful)))
    table.to_parquet(tmp_path / "more.parquet")
    ppca = fit(PPCA(2, 1), faithful, EM(), max_passes=5).model
    np.testing.assert_array_equal(ppca.bound(table), ppca.bound(faithful))
    np.testing.assert_array_equal(ppca.bound(tmp_path / "more.parquet"), ppca.bound(faithful))
    refit = fit(ppca, Rows(table), EM(), max_passes=1)
    assert float(refit.bounds[0]) == pytest.approx(float(ppca.bound(faithful).mean()))
    with pytest.raises(
        ValueError,
        match="got columns waiting, id, expected those of the fit, eruptions, waiting: column 'eruptions' is",
    ):
        ppca.bound(table.drop(columns="eruptions"))
    wide = fit(GaussianMixture(1, 3), table, EM())
    with pytest.raises(ValueError, match="narrow has columns eruptions, waiting, expected eruptions, waiting, id as"):
        compare(table, wide=wide, narrow=fit(GaussianMixture(1, 2), faithful, EM()))


NUMERIC = {
    "gaussian": GaussianMixture(2, 2),
    "student": StudentTMixture(2, 2),
    "kmeans": KMeans(2, 2),
    "ppca": PPCA(2, 1),
    "linear vae": linear_vae(2, 1),
    "poisson": PoissonMixture(2, 2),
    "product": Mixture(Product(Categorical(2, [3]), Gaussian(2, 1), columns=[[1], [0]])),
    "any distribution": Mixture(FamilyOf(Laplace, 2, 2)),
    "bayesian": BayesianMixture(Gaussian(2, 2)),
}


@pytest.mark.parametrize("model", NUMERIC.values(), ids=NUMERIC)
def test_categories_are_not_taken_for_numbers(survey, model, as_users_run_it):
    table = survey.assign(age=1.0)[["transport", "age"]]
    for call in (
        seed,
        lambda model, x: fit(model, x, SVI(), max_passes=1),
        lambda model, x: fit(model, Rows(x), SVI()),
    ):
        with pytest.raises(ValueError, match="column 'transport' holds categories, expected numbers"):
            call(model, table)
    with pytest.raises(TypeError, match=r"column 'transport' holds .* values, expected real numbers"):
        fit(model, table.astype({"transport": object}), SVI())


def test_a_column_of_numbers_that_are_categories_is_read_by_its_numbers():
    """A model of answers 1, 2 and 9 gets them as integers, as floats with gaps, as an array, as words."""
    answers = pd.DataFrame({"a": [1, 2, 9, 9, 1], "b": [2, 2, 1, 9, 1]})
    model = fit(CategoricalMixture(1, [3, 3]), answers.astype("category"), EM()).model
    bound = model.bound(answers.astype("category"))
    assert bound[0] == pytest.approx(np.log(0.4 * 0.4))
    for table in (answers, answers.astype(float), answers.astype("Int64"), answers.astype(str), answers.to_numpy()):
        np.testing.assert_array_equal(model.bound(table), bound)
    with pytest.raises(ValueError, match="row 1, column 'a' holds 3, expected one of 1, 2, 9"):
        model.bound(answers.assign(a=[1, 3, 9, 9, 1]))
    assert model.bound(model.sample(5)).isfinite().all()  # a tensor holds codes

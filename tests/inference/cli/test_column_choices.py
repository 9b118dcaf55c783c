"""The command line says what it took a file and its columns for, and lets the user say otherwise."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_cli import refused

from lowerbound.inference import load


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 300)
    x, y = rng.normal(5 * z, 1), rng.normal(5 * z, 1)
    day = pd.date_range("2020", periods=300).strftime("%Y-%m-%d")
    table = {"id": range(300), "day": day, "x": x, "y": y, "grams": rng.normal(4000, 500, 300).round().astype(int)}
    return pd.DataFrame(table), z


def test_what_columns_are_taken_for_is_printed_and_can_be_overruled(run, weights):
    table, z = weights
    table.to_csv("weights.csv", index=False)
    shown = run("fit", "weights.csv", "--model", "mixed", "--quiet").stdout
    for line in (r"id +left out +row numbers", r"day +left out +dates", r"grams +gaussian +whole numbers, 2536 to"):
        assert re.search(line, shown), shown
    model = load("model.safetensors").model
    assert model.schema.columns == ("x", "y", "grams")
    assert (model.predict(table).to_numpy() == z).mean() in (0, 1)  # of the table with all its columns
    assert float(load("model.safetensors").bounds[-1]) == pytest.approx(-11.03, abs=0.02)
    shown = run("fit", "weights.csv", "--model", "mixed", "--kinds", "grams=poisson,y=drop", "--quiet").stdout
    assert re.search(r"y +left out +as asked for", shown) and re.search(r"grams +poisson +as asked for", shown)
    assert type(load("model.safetensors").model.family.parts[1]).__name__ == "Poisson"
    for options, words in (
        (["--kinds", "gram=gaussian"], "kinds has a column 'gram', expected some of id, day, x, y, grams"),
        (["--kinds", "grams=heavy"], "the kind of column 'grams' is 'heavy', expected one of gaussian"),
        (["--kinds", "grams"], "--kinds is 'grams', expected columns and what they hold"),
        (["--kinds", "day=gaussian"], "column 'day' holds words, such as '2020-01-01'"),
        (["--header", "maybe"], "--header is 'maybe', expected one of yes, no"),
    ):
        assert refused(run("fit", "weights.csv", "--model", "mixed", "--quiet", *options), words)
    told = run("fit", "faithful", "--kinds", "waiting=gaussian", "--quiet")
    assert refused(told, "--kinds is 'waiting=gaussian', but --model gaussian has none")


@pytest.mark.parametrize("model", ["categorical", "mixed"])
def test_levels_are_those_that_occur_whatever_the_file(run, model):
    """Codes from 0 in CSV, from 1 in .npy, a Parquet dictionary and a category with levels that no row has."""
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 200)
    codes = np.stack([np.where(rng.random(200) < 0.7, 2 * z, rng.integers(0, 3, 200)) for _ in range(3)], 1)
    pd.DataFrame(codes, columns=list("abc")).to_csv("x.csv", index=False)
    np.save("x.npy", codes + 1)
    words = pa.array(["never", "low", "middle", "high", "nor this"])
    columns = [pa.DictionaryArray.from_arrays(pa.array(column + 1), words) for column in codes.T]
    pq.write_table(pa.table(columns, list("abc")), "x.parquet")
    pq.write_table(pa.table(columns, list("abc")).slice(0, 120), "part-0.parquet")
    scores = set()
    for file in ("x.csv", "x.npy", "x.parquet"):
        result = run("select", file, "--model", model, "-k", 2, "--folds", 0, "--restarts", 5, "--quiet")
        assert result.exit_code == 0, result.stderr
        table = pd.read_csv("report/selection.csv")
        scores.add((int(table.free_parameters[0]), round(float(table.bic[0]), 6)))
    assert len(scores) == 1 and scores.pop()[0] == 13
    assert run("fit", "x.npy", "--model", model, "--quiet").exit_code == 0
    fitted = load("model.safetensors").model
    labels = fitted.predict(np.load("x.npy")).numpy()  # by the numbers of the array, not as codes
    assert max((labels == z).mean(), (labels != z).mean()) > 0.8


def test_each_model_of_a_selection_has_its_own_levels(run):
    """Answers 1 to 3 have three levels for a categorical model, also beside a model that reads them as numbers."""
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 200)
    table = pd.DataFrame({name: np.where(rng.random(200) < 0.7, 1 + 2 * z, rng.integers(1, 4, 200)) for name in "abc"})
    table.to_csv("x.csv", index=False)
    table.to_parquet("x.parquet")
    np.save("x.npy", table.to_numpy())
    bic = {}
    for models, file in (
        ("categorical", "x.csv"), ("poisson,categorical", "x.npy"), ("mixed,categorical,poisson", "x.parquet"),
    ):  # fmt: skip
        ran = run("select", file, "--model", models, "-k", 2, "--folds", 2, "--restarts", 4, "--quiet")
        assert ran.exit_code == 0, ran.stderr
        found = pd.read_csv("report/selection.csv", index_col="candidate").set_axis(models.split(","))
        assert found.held_out.notna().all()
        for model in set(models.split(",")) - {"poisson"}:
            assert found.free_parameters[model] == 13
            bic[models, model] = found.bic[model]
    assert np.ptp(list(bic.values())) < 1e-4
    told = "categorical takes column 'a' for categories and poisson takes it for numbers"
    assert refused(run("compare", "x.csv", "--model", "categorical,poisson", "--quiet"), told, "by select")
    assert run("compare", "x.csv", "--model", "categorical,mixed", "--quiet").exit_code == 0


def test_levels_that_do_not_occur_are_no_outputs_of_a_decoder(run):
    levels = pd.CategoricalDtype(["low", "middle", "high"])
    table = pd.DataFrame({name: pd.Series(["low", "high"] * 20, dtype=levels) for name in "ab"})
    pq.write_table(pa.Table.from_pandas(table), "x.parquet")
    ran = run("fit", "x.parquet", "--model", "vae", "--hidden", 3, "--max-passes", 2, "--quiet")
    assert ran.exit_code == 0, ran.stderr
    assert load("model.safetensors").model.schema.levels == (("low", "high"),) * 2


def test_large_tables_of_parquet_files_are_treated_alike(run, weights, monkeypatch):
    """Those that are not read into memory: dates and ids are left out, unused levels do not count."""
    monkeypatch.setattr("lowerbound.data.read_file.IN_MEMORY", 0)
    monkeypatch.setattr("lowerbound.data.parquet.MOST_WORDS", 200)
    table, z = weights
    table["day"] = pd.to_datetime(table["day"])
    table["sort"] = pd.Categorical(np.where(z, "left", "right"), ["left", "middle", "right"])
    table["person"] = [f"p{i}" for i in range(300)]
    table.to_parquet("weights.parquet")
    shown = run("fit", "weights.parquet", "--model", "mixed", "--prior", "weak", "--quiet")
    assert shown.exit_code == 0, shown.stderr
    assert re.search(r"person +left out +too many different words", shown.stdout)
    assert re.search(r"day +left out +dates", shown.stdout) and "2 different words: left, right" in shown.stdout
    model = load("model.safetensors").model
    assert model.schema.levels[-1] == ("left", "right")
    assert refused(run("fit", "weights.parquet", "--quiet"), "column 'day' holds datetime64")
    for source in (table, "weights.parquet"):
        assert (np.asarray(model.predict(source)) == z).mean() in (0, 1)


def test_a_first_line_of_numbers_is_named(run):
    x = np.random.default_rng(0).normal(size=(30, 2))
    pd.DataFrame(x).to_csv("x.csv", index=False)
    said = "the first line of x.csv, 0, 1, was taken for the names of the columns, not for a row"
    assert said in run("fit", "x.csv", "-k", 1, "--quiet").stdout
    assert said not in run("fit", "x.csv", "-k", 1, "--header", "yes", "--quiet").stdout
    assert "31 rows" in run("fit", "x.csv", "-k", 1, "--header", "no", "--quiet").stdout


def test_imputed_tables_keep_the_columns_that_were_left_out(run, weights):
    table, _ = weights
    table["answer"] = pd.array([1, 2, 9, None] * 75, dtype="Int64")
    table.loc[3, "x"] = np.nan
    table.to_csv("gaps.csv", index=False)
    assert run("impute", "gaps.csv", "--restarts", 1).exit_code == 0
    filled, given = pd.read_csv("filled.csv"), pd.read_csv("gaps.csv")
    assert list(filled) == list(given) and not filled.isna().any(axis=None)
    assert set(filled["answer"]) == {1, 2, 9} and filled["day"].equals(given["day"])
    pd.testing.assert_frame_equal(filled.where(given.notna()), given)

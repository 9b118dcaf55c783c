"""The command line with models of every kind, and columns of categories."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
from test_cli import QUICK, refused

from lowerbound import datasets
from lowerbound.data.held_out import split
from lowerbound.data.read_file import read
from lowerbound.inference import EM, fit, load
from lowerbound.inference.cli import models_by_name
from lowerbound.inference.cli.column_kinds import categories_of
from lowerbound.models import PPCA, Rows, mixed

# models of every kind

EVERY_MODEL = {
    "gaussian": "faithful",
    "student": "faithful",
    "gamma": "faithful",
    "exponential": "faithful",
    "poisson": "deaths",
    "negative-binomial": "deaths",
    "multinomial": "carcinoma",
    "bernoulli": "carcinoma",
    "categorical": "titanic",
    "mixed": "mixed.csv",
    "kmeans": "faithful",
    "ppca": "iris",
    "linear-vae": "iris",
    "vae": "titanic",
}


def mixed_table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "kind": rng.choice(["west", "east", "north"], 60),
            "height": rng.standard_normal(60),
            "visits": rng.poisson(3, 60),
            "yes": rng.integers(0, 2, 60),
            "width": rng.standard_normal(60),
        }
    )


def options_of(model):
    """The table of a model, with a weak prior where it takes one."""
    mixed_table().to_csv("mixed.csv", index=False)
    return EVERY_MODEL[model], ["--prior", "weak"] if "prior" in models_by_name.MODELS[model].options else []


@pytest.mark.parametrize("model", models_by_name.MODELS)
def test_every_model_is_fitted_and_saved(run, tmp_path, model):
    data, priors = options_of(model)
    result = run("fit", data, "--model", model, *priors, "--max-passes", 4, "--quiet")
    assert result.exit_code == 0, result.stderr
    fitted = load(tmp_path / "model.safetensors")
    assert fitted.bounds.isfinite().all() and fitted.bounds[-1] > fitted.bounds[0]


@pytest.mark.drawn(4)  # pictures take a second for each of them
@pytest.mark.parametrize("model", models_by_name.MODELS)
def test_every_model_runs_from_end_to_end(run, tmp_path, model):
    data, priors = options_of(model)
    engine = models_by_name.MODELS[model].engines[0]
    result = run("compare", data, "--model", model, *priors, "--engines", f"{engine},svi", "--max-passes", 4, "--quiet")
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(tmp_path / "report" / "comparison.csv", index_col="fit")
    assert np.isfinite(table["elbo"]).all() and (table["free_parameters"] > 0).all()
    result = run("fit", data, "--model", model, *priors, "--max-passes", 4, "--quiet")
    assert result.exit_code == 0, result.stderr
    fitted = load(tmp_path / "model.safetensors")
    # of a VAE both are estimates, by 1 draw and by 200 for each row
    tolerance = 1e-9 if table["log_likelihood_error"][engine] == 0 and table["gap"][engine] < 1e-6 else 0.05
    assert float(fitted.bounds[-1]) * len(Rows(read(data))) == pytest.approx(
        table["elbo"][engine] + table["log_prior"][engine], rel=tolerance
    )


def test_several_models_stand_in_one_table_scored_on_rows_held_out(run, tmp_path):
    options = [
        "--latent",
        2,
        "--hidden",
        "8",
        "--components",
        3,
        "--covariance",
        "diag",
        "--held-out",
        0.2,
        "--seed",
        5,
    ]
    result = run("compare", "iris", "--model", "vae,ppca,gaussian", *options, "--max-passes", 5, "--quiet")
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(tmp_path / "report" / "comparison.csv", index_col="fit")
    assert list(table.index) == ["vae", "ppca", "gaussian"]
    rest, others = split(datasets.load("iris"), 0.2, 5)
    assert len(others) == 30 and sorted([*rest.index, *others.index]) == list(range(150))
    em = fit(PPCA(4, 2), rest, EM(), max_passes=5, seed=5)
    assert table["held_out"]["ppca"] == pytest.approx(float(em.model.bound(others).mean()), rel=1e-9)
    assert "held out, nats per row" in result.stdout and "* best on rows held out" in result.stdout


def test_a_pmf_and_a_density_are_not_ranked(run):
    assert refused(
        run("compare", "binary_digits", "--model", "bernoulli,ppca", "--max-passes", 2, "--quiet"),
        "bernoulli gives probabilities of discrete data and ppca a density",
    )


def test_mixed_chooses_by_the_column(run):
    rows = Rows(read_as(mixed_table()))
    model = mixed(rows, 2, "diag")
    kinds = {type(part).__name__: group for part, group in zip(model.family.parts, model.family.columns, strict=True)}
    assert kinds == {"Categorical": (0,), "Gaussian": (1, 4), "Poisson": (2,), "Bernoulli": (3,)}
    assert rows.levels[0] == ["east", "north", "west"] and model.family.parts[0].levels == (3,)
    assert type(mixed(mixed_table()[["visits"]]).family).__name__ == "Poisson"


def read_as(table):
    """As `read` finds it in a file."""
    table.to_parquet("table.parquet")
    return read("table.parquet")


def test_levels_are_those_of_the_data():
    x = pd.DataFrame({"a": pd.Categorical(["u", "v", "u"], ["u", "v", "w"]), "b": [0, 4, 2], "c": [0.0, 0.0, 0.0]})
    schema, counts = categories_of(Rows(x))
    assert counts == [2, 3, 1] and schema.levels == (("u", "v"), ("0", "2", "4"), None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("names.csv", ["column 'a' holds 60 different words in 60 rows", "correct the values that are not numbers"]),
        ("large.csv", ["column 'a' holds numbers up to 5000", "--model mixed accepts such numbers"]),
    ],
)
def test_columns_that_hold_no_categories_are_refused(run, name, words):
    pd.DataFrame({"a": [f"n{i}" for i in range(60)]}).to_csv("names.csv", index=False)
    pd.DataFrame({"a": range(5001)}).to_csv("large.csv", index=False)
    assert refused(run("compare", name, "--model", "categorical", *QUICK), *words)


def test_what_is_neither_numbers_nor_words_is_refused(run):
    pd.DataFrame({"a": pd.date_range("2020", periods=3), "b": [1, 2, 3]}).to_parquet("dates.parquet")
    assert refused(run("fit", "dates.parquet", "--quiet"), "column 'a'", "datetime64", "expected real numbers")


def test_a_table_of_categories_names_the_models_for_it(run, tmp_path):
    result = run("compare", "titanic", *QUICK)
    assert refused(result)
    assert result.stderr == (
        "error: columns 'class', 'sex', 'age', 'survived' of titanic hold categories, but --model gaussian expects "
        "numbers: use --model categorical, mixed or vae, or drop such columns\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_models_that_refuse_the_table_too_are_not_named(run):
    """With measurements beside words, neither categorical nor vae."""
    pd.DataFrame({"a": [0.5, 1.5] * 9, "b": ["x", "y"] * 9}).to_csv("both.csv", index=False)
    assert refused(run("compare", "both.csv", *QUICK), "expects numbers: use --model mixed, or drop such columns")


# category columns in Python


def test_categories_are_read_as_their_codes():
    x = pd.DataFrame({"a": [1.5, 2.5, 3.5], "b": pd.Categorical(["z", "x", "z"], ["z", "y", "x"])})
    np.testing.assert_array_equal(next(Rows(x).chunks()).x, [[1.5, 0], [2.5, 2], [3.5, 0]])
    assert Rows(x).levels == [None, ["z", "y", "x"]] and Rows(x.to_numpy(object)[:, :1].astype(float)).levels == [None]
    x.loc[1, "b"] = None
    with pytest.raises(ValueError, match=r"row 1, column 1 \('b'\) holds NaN, expected finite numbers"):
        next(Rows(x).chunks())
    with pytest.raises(TypeError, match=r'column .b. holds .* values, expected real numbers: .*\.astype\("category"\)'):
        next(Rows(x.astype({"b": object})).chunks())


def test_a_collapse_names_the_cure(run, tmp_path):
    pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [0.0, 1.0, 2.0, 3.0]}).to_csv("line.csv", index=False)
    assert refused(run("compare", "line.csv", "-k", 2, *QUICK), "--prior weak")
    assert [entry.name for entry in tmp_path.iterdir()] == ["line.csv"]


def test_an_interruption_is_one_line(run, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["lowerbound.inference.cli.run_fit"], "fit", interrupted)
    result = run("compare", "faithful", *QUICK)
    assert result.exit_code == 130 and result.stderr == "interrupted: nothing was written\n"


def test_an_interruption_says_what_is_kept(run, monkeypatch, tmp_path):
    """Ctrl-C in the third pass, and then while the fit is scored."""
    module, passes = sys.modules["lowerbound.inference.fitting.checkpoint"], iter(range(3))

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    write = module.Checkpoint.write
    with monkeypatch.context() as patch:
        patch.setattr(module.Checkpoint, "write", lambda *a: write(*a) if next(passes) < 2 else interrupted())
        result = run("fit", "faithful", "--checkpoint", "run.ckpt", "--quiet")
    assert result.exit_code == 130 and result.stderr == "interrupted: run.ckpt was written\n"
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["lowerbound.inference.cli.fit_command"], "compare_fits", interrupted)
        result = run("fit", "faithful", "--checkpoint", "run.ckpt", "--out", "fit.safetensors", "--quiet")
    assert result.exit_code == 130
    kept = "interrupted: run.ckpt and fit.safetensors were written\n"
    assert result.stderr == kept
    assert load(tmp_path / "fit.safetensors").converged


def test_answers_from_1_to_5_have_five_levels(run, tmp_path):
    """No level that is not there: BIC counts 2 * 2 * 4 probabilities and a weight."""
    answers = np.random.default_rng(0).integers(1, 6, size=(200, 2))
    pd.DataFrame(answers, columns=["q1", "q2"]).to_csv(tmp_path / "survey.csv", index=False)
    options = ("--model", "categorical", "--engines", "em", "--out", tmp_path / "out")
    shown = run("compare", tmp_path / "survey.csv", *options)
    assert re.search(r"free parameters\s*\|\s*17\b", shown.stdout)
    header = (tmp_path / "out" / "components.csv").read_text()
    assert "P(q1 = 5)" in header and "P(q1 = 0)" not in header


def test_categories_of_rows_held_out_are_known(run, tmp_path):
    """One row in 40 has the last code of its column; where it is held out, the model knows it all the same."""
    codes = np.random.default_rng(0).integers(0, 3, (40, 3))
    codes[17, 1] = 3
    pd.DataFrame(codes, columns=list("abc")).to_csv(tmp_path / "codes.csv", index=False)
    for seed in range(3):
        options = ["--model", "categorical", "--prior", "weak", "--held-out", 0.5, "--seed", seed, "--max-passes", 3]
        result = run("compare", "codes.csv", *options, "--engines", "em", "--quiet")
        assert result.exit_code == 0, result.stderr


def test_a_variance_floor_is_refused_where_the_columns_have_none(run):
    assert refused(
        run("compare", "binary_digits", "--model", "vae", "--variance-floor", 5, "--quiet"),
        "--variance-floor is 5.0, but columns of 0 and 1 have none",
    )


def test_select_prints_the_table_and_writes_it_with_its_picture(run, tmp_path):
    options = ["-k", "1-2", "--covariance", "full,tied", "--restarts", 2, "--folds", 3, "--quiet"]
    result = run("select", "faithful", *options)
    assert result.exit_code == 0, result.stderr
    assert sorted(file.name for file in (tmp_path / "report").iterdir()) == ["selection.csv", "selection.png"]
    table = pd.read_csv(tmp_path / "report" / "selection.csv", index_col="candidate", keep_default_na=False)
    assert list(table.index) == ["full, K=1", "full, K=2", "tied, K=1", "tied, K=2"]
    assert float(table["bic"]["full, K=2"]) == pytest.approx(2322.192, abs=2e-3)  # mclust, with its sign turned
    assert float(table["bic"]["tied, K=2"]) == pytest.approx(2 * 1140.1868 + 8 * np.log(272), abs=2e-3)
    assert "best by BIC: full, K=2" in result.stdout and "* 2322.19" in result.stdout
    assert run("select", "faithful", "-k", "1", "--folds", 0, "--restarts", 1, "--quiet").exit_code == 0  # over its own


def test_select_takes_several_models(run, tmp_path):
    options = ["--model", "gaussian,ppca", "-k", "1", "--covariance", "diag", "--latent", "1,2", "--prior", "weak"]
    result = run("select", "iris", *options, "--restarts", 1, "--folds", 0, "--max-passes", 5, "--out", "a", "--quiet")
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(tmp_path / "a" / "selection.csv", index_col="candidate")
    assert list(table.index) == ["gaussian, diag, K=1", "ppca, latent 1", "ppca, latent 2"]
    assert list(table["free_parameters"]) == [8, 4 + 4 + 1, 4 + 8 - 1 + 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-k", "1-"], ["--components is '1-', expected numbers such as 1-5 or 2,3,8"]),
        (["-k", "5-1,3"], ["--components is '5-1,3', expected numbers such as 1-5 or 2,3,8"]),
        (["-k", "1-10000000000"], ["--components is '1-10000000000', expected numbers such as"]),
        (["-k", "1-100000000"], ["--components is '1-100000000', expected at most 200 numbers"]),
        (["--covariance", ""], ["--covariance is '', expected one of full, tied"]),
        (["--covariance", "full,full"], ["--covariance is 'full,full', expected each name once"]),
        (["-k", "5-1"], ["--components is '5-1', expected numbers such as 1-5 or 2,3,8"]),
        (["-k", "two"], ["--components is 'two'"]),
        (["-k", "0-2"], ["--components is '0-2'"]),
        (["-k", "2,2"], ["--components is '2,2'"]),
        (["--covariance", "fulll"], ["covariance is 'fulll'"]),
        (["--model", "ppca", "-k", "1-2"], ["--components is '1,2', but --model ppca has none"]),
        (["--model", "vae", "--latent", "1"], ["EM needs expect"]),
        (["--folds", "1"], ["folds is 1, expected None or a whole number from 2 to 272"]),
        (["--engine", "hmc"], ["--engine is 'hmc'"]),
        (["--out", "file"], ["cannot write the selection to file: file is a file"]),
        (["--out", "other"], ["other: it holds another selection.csv"]),
    ],
)
def test_bad_options_of_select_are_refused_in_one_sentence(run, tmp_path, options, words):
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "selection.csv").write_text("mine")
    assert refused(run("select", "faithful", "--restarts", 1, "--quiet", *options), *words)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "other"]
    assert (tmp_path / "other" / "selection.csv").read_text() == "mine"


def test_select_names_a_covariance_only_where_there_is_one(run):
    """Of a mixed table without a column of measurements, a candidate is no "full, K=3"."""
    pd.DataFrame({"a": list("xyxyxxyyxy") * 4, "b": list("uuvvuuvvuv") * 4}).to_csv("words.csv", index=False)
    options = ["--model", "mixed", "-k", "1-2", "--restarts", 1, "--folds", 0, "--quiet"]
    result = run("select", "words.csv", *options)
    assert result.exit_code == 0, result.stderr
    assert "| K=1 " in result.stdout and "full" not in result.stdout
    result = run("select", "words.csv", *options, "--covariance", "diag")
    assert "--covariance is 'diag', but --model mixed takes no column of this table for Gaussian" in result.stderr


def test_least_rows_reach_fit_and_select(run):
    np.savetxt(
        "x.csv",
        np.r_[np.random.default_rng(0).normal(size=(40, 2)), np.eye(4)[:, :2] + 9],
        delimiter=",",
        header="a,b",
        comments="",
    )
    result = run("fit", "x.csv", "--restarts", 3, "--least-rows", 23, "--quiet")
    assert result.exit_code == 0 and "every restart ended with a component of fewer than 23 rows" in result.stdout
    result = run("fit", "x.csv", "--model", "kmeans", "--least-rows", 23, "--quiet")
    assert result.exit_code == 1 and "KMeans has no weights that are estimated" in result.stderr
    result = run("select", "x.csv", "-k", "2", "--restarts", 3, "--folds", 0, "--least-rows", 23, "--quiet")
    assert result.exit_code == 0, result.stderr

import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import lowerbound
from lowerbound import datasets
from lowerbound.data.held_out import split
from lowerbound.data.read_file import read
from lowerbound.inference import EM, compare, fit, load
from lowerbound.inference.cli import engines_by_name, models_by_name
from lowerbound.inference.cli.app import app
from lowerbound.inference.cli.column_kinds import category_counts
from lowerbound.inference.cli.models_for_columns import mixed_mixture
from lowerbound.inference.report.write_report import FILES
from lowerbound.models import PPCA, GaussianMixture, Rows

QUICK = ["--engines", "em,svi-exact", "--max-passes", "5", "--quiet"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(result, *words):
    """One sentence on the error stream, a status that says so, and nothing else."""
    assert isinstance(result.exception, SystemExit) and result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    return True


def test_compare_prints_the_table_and_writes_the_report(run, tmp_path):
    result = run("compare", "faithful", "-k", 2, *QUICK)
    assert result.exit_code == 0, result.stderr
    assert sorted(file.name for file in (tmp_path / "report").iterdir()) == sorted(
        set(FILES)
        - {"profiles.png", "samples.png", "reconstructions.png", "latent.png", "posteriors.png", "posterior.nc"}
    )
    table = pd.read_csv(tmp_path / "report" / "comparison.csv", index_col="fit")
    assert list(table.index) == ["em", "svi-exact"] and list(table["passes"]) == [5, 5]
    assert f"{table['log_likelihood']['em']:.4f}" in result.stdout
    assert result.stdout.rstrip().endswith(f"report: {os.path.join('report', 'index.html')}")
    # the same fit as in Python, the same start for both engines
    x = datasets.load("faithful")
    em = fit(GaussianMixture(2, 2), x, EM(), max_passes=5)
    assert table["log_likelihood"]["em"] == pytest.approx(compare(x, em=em).frame()["log_likelihood"]["em"], rel=1e-14)


def test_every_engine_starts_from_the_same_start():
    x = datasets.load("faithful")
    starts = {
        name: float(fit(GaussianMixture(3, 2), x, make(), max_passes=1, seed=4).bounds[0])
        for name, make in engines_by_name.ENGINES.items()
        if name not in ("svi-analytic", *engines_by_name.BAYESIAN)  # of a continuous z; of a posterior
    }
    assert len(set(starts.values())) == 1 or np.ptp(list(starts.values())) < 1e-12


def test_options_reach_the_fit(run, tmp_path):
    options = ["--covariance", "tied", "--prior", "weak", "--restarts", 2, "--seed", 3]
    result = run("compare", "iris", "-k", 3, *QUICK, *options, "--out", "a/b")
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(tmp_path / "a" / "b" / "comparison.csv")
    assert list(table["free_parameters"]) == [2 + 3 * 4 + 10] * 2 and (table["log_prior"] != 0).all()
    page = (tmp_path / "a" / "b" / "index.html").read_text(encoding="utf-8")
    assert "2 restarts: " in page and "<td>3</td>" in page and "&#x27;tied&#x27;" in page


def test_fit_saves_what_load_reads(run, tmp_path):
    result = run("fit", "galaxies", "-k", 3, "--out", "model.safetensors")
    assert result.exit_code == 0, result.stderr
    fitted = load(tmp_path / "model.safetensors")
    assert f"{float(fitted.bounds[-1]):.6f}" in result.stdout and "mean of velocity" in result.stdout
    assert torch.isfinite(fitted.model.bound(datasets.load("galaxies"))).all()


def test_datasets_are_listed(run):
    lines = run("datasets").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(datasets.names())
    assert lines[datasets.names().index("faithful")] == "faithful         272 rows x 2   eruptions, waiting"
    assert lines[datasets.names().index("digits")].endswith(
        " 1797 rows x 64  pixel_0_0, pixel_0_1, pixel_0_2, pixel_0_3, ... (64)"
    )


def test_version_and_help(run):
    assert run("--version").stdout == f"lowerbound {lowerbound.__version__}\n"
    shown = run("compare", "--help")
    assert shown.exit_code == 0 and "--engines" in shown.stdout
    assert run("compare").exit_code == 2 and run("compare", "faithful", "-k", 0).exit_code == 2


def test_the_module_runs_as_a_program(tmp_path):
    command = [sys.executable, "-m", "lowerbound", "compare", "faithful", *QUICK, "--engines", "em"]
    root = os.path.dirname(os.path.dirname(os.path.dirname(models_by_name.__file__)))
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and done.stderr == "" and "log-likelihood" in done.stdout
    assert (tmp_path / "report" / "index.html").is_file()


# tables from files


@pytest.mark.parametrize("header", [True, False])
def test_a_csv_file_with_or_without_names(tmp_path, header):
    x = datasets.load("faithful")
    x.to_csv(tmp_path / "x.csv", index=False, header=header)
    table = read(str(tmp_path / "x.csv"))
    np.testing.assert_array_equal(table.to_numpy(), x.to_numpy())
    assert list(table.columns) == (["eruptions", "waiting"] if header else ["column 0", "column 1"])


def test_parquet_and_numpy_files(run, tmp_path):
    x = datasets.load("faithful")
    x.to_parquet(tmp_path / "x.parquet")
    np.save(tmp_path / "x.npy", x.to_numpy())
    pd.testing.assert_frame_equal(read("x.parquet"), x)
    assert isinstance(read("x.npy"), np.memmap)
    results = [run("compare", f"x.{kind}", *QUICK, "--out", kind).stdout.splitlines() for kind in ("parquet", "npy")]
    assert [line for line in results[0] if "likelihood" in line] == [
        line for line in results[1] if "likelihood" in line
    ]


class Mischief:
    def __reduce__(self):
        return (os.mkdir, ("mischief",))


def bad_files(folder):
    """name: (content, words that the error must have)."""
    pickled = np.empty((2, 2), dtype=object)
    pickled[:] = Mischief()
    np.save(folder / "pickled.npy", pickled)
    np.save(folder / "flat.npy", np.arange(5.0))
    np.savez(folder / "archive.npz", a=np.eye(2))
    (folder / "archive.npz").rename(folder / "archive.npy")
    (folder / "raw.npy").write_bytes(pickle.dumps([1, 2]))
    (folder / "empty.npy").touch()
    (folder / "folder.csv").mkdir()
    text = {
        "ragged.csv": "a,b\n1,2\n3,4,5\n",
        "semicolons.csv": "a;b\n1;2\n3;4\n",
        "surplus.csv": "a,b\n1,2,3\n4,5,6\n",
        "word.csv": "a,b,name,kind\n1,2,x,u\n3,4,y,v\n5,6,z,w\n",
        "hole.csv": "a,b\n1,\n3,\n5,\n7,\n",
        "index.csv": ",a\n0,1.5\n1,2.5\n",
        "empty.csv": "",
        "header.csv": "a,b\n",
        "short.csv": "a,b\n1,2\n",
        "infinite.csv": "a,b\n1,2\ninf,3\n4,5\n",
        "table.xlsx": "",
        "text.parquet": "no",
    }
    for name, content in text.items():
        (folder / name).write_text(content)
    (folder / "binary.csv").write_bytes(bytes(range(128, 256)))
    return {
        "pickled.npy": ["not an array of numbers"],
        "flat.npy": ["(rows, columns)"],
        "archive.npy": ["several arrays"],
        "raw.npy": ["not an array of numbers"],
        "empty.npy": ["not an array of numbers"],
        "folder.csv": ["a folder without .parquet files"],
        "ragged.csv": ["comma-separated", "line 3"],
        "semicolons.csv": ["comma-separated values: its columns are separated by ';'"],
        "surplus.csv": ["more values than its header"],
        "word.csv": ["columns 'name', 'kind' of word.csv hold categories", "--model categorical, mixed or vae"],
        "hole.csv": ["column 1 ('b') has no value in any row"],
        "index.csv": ["column 0", "no name"],
        "empty.csv": ["comma-separated"],
        "header.csv": ["no rows"],
        "short.csv": ["1 rows", "2 components"],
        "infinite.csv": ["row 1", "infinite"],
        "binary.csv": ["comma-separated"],
        "table.xlsx": [".csv, .parquet, .npy"],
        "text.parquet": ["not a Parquet file"],
        "missing.csv": ["there is no file missing.csv", "faithful"],
        "mnist": ["there is no file mnist"],
    }


def test_bad_files_are_refused_in_one_sentence_and_nothing_is_written(run, tmp_path):
    expected = bad_files(tmp_path)
    before = sorted(tmp_path.iterdir())
    for name, words in expected.items():
        assert refused(run("compare", name, "-k", 2, *QUICK), *words), name
        assert refused(run("fit", name, "--quiet"), *words), name
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "vea"], ["--model is 'vea'", "gaussian", "vae"]),
        (["--model", "ppca,ppca"], ["each name once"]),
        (["--model", "ppca", "-k", "3"], ["--components is 3, but --model ppca has none", "kmeans"]),
        (["--model", "kmeans,ppca", "--hidden", "10"], ["--hidden is '10', but --model kmeans,ppca has none"]),
        (["--model", "vae", "--hidden", "ten"], ["--hidden is 'ten', expected sizes of layers"]),
        (["--model", "vae", "--latent", "3"], ["latent is 3 for 2 features"]),
        (["--model", "ppca", "--latent", "2"], ["latent is 2 for 2 features, expected at most 1"]),
        (["--model", "vae", "--engines", "em"], ["EM needs expect", "VAE"]),
        (["--engines", "svi-analytic"], ["Mixture", "continuous z"]),
        (["--model", "vae", "--device", "abacus"], ["--device is 'abacus', expected one that torch has here"]),
        (["--engines", "em", "--batch-size", "7"], ["--batch-size is 7, but em takes no gradient steps"]),
        (["--engines", "em", "--learning-rate", "7"], ["--learning-rate is 7.0, but em takes no gradient steps"]),
        (["--device", "cpu"], ["--device is 'cpu', but --model gaussian has no network: use linear-vae or vae"]),
        (["--held-out", "nan"], ["--held-out is nan, expected a share"]),
        (["--held-out", "1.5"], ["--held-out is 1.5, expected a share"]),
        (["--variance-floor", "1"], ["variance_floor is for covariances without correlations", "not for 'full'"]),
        (["--model", "bernoulli,gaussian"], ["row 0, column 0 ('eruptions') holds 3.6"]),
        (["--engines", "em,hmc"], ["--engines is 'hmc'", "svi-exact"]),
        (["--engines", "em,em"], ["each name once"]),
        (["--engines", ""], ["--engines is ''"]),
        (["--model", "poisson"], ["row 0, column 0 ('eruptions') holds 3.6", "counts"]),
        (["--model", "categorical"], ["column 'eruptions' holds other numbers than 0, 1, 2, ...", "--model mixed"]),
        (["--model", "kmeans", "--prior", "weak"], ["--prior is 'weak', but --model kmeans has none"]),
        (
            ["--model", "gamma", "--covariance", "full"],
            ["--covariance is 'full', but --model gamma has none, expected --model gaussian, student or mixed"],
        ),
        (["--covariance", "fulll"], ["covariance is 'fulll'", "tied"]),
        (["--prior", "strong"], ["--prior is 'strong'", "weak"]),
        (["-k", "300"], ["272 rows", "300 components"]),
        (["--out", "file/report"], ["cannot write the report", "file is a file"]),
    ],
)
def test_bad_options_are_refused_in_one_sentence_and_nothing_is_written(run, tmp_path, options, words):
    (tmp_path / "file").write_text("x")
    assert refused(run("compare", "faithful", "--quiet", *options), *words)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_is_told_before_the_fit(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys.modules["lowerbound.inference.cli.run_fit"], "fit", lambda *a, **k: pytest.fail("fitted first")
    )
    (tmp_path / "file").write_text("x")
    assert refused(run("compare", "faithful", "--out", "file"), "is a file, expected a folder")
    assert refused(run("fit", "faithful", "--out", "none/model.safetensors"), "there is no folder none")
    assert refused(run("fit", "faithful", "--out", "."), "it is a folder, expected a file")
    assert refused(run("fit", "faithful", "--engine", "hmc"), "--engine is 'hmc'")


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
    model = mixed_mixture(rows, 2, "diag", None)
    kinds = {type(part).__name__: group for part, group in zip(model.family.parts, model.family.columns, strict=True)}
    assert kinds == {"Categorical": (0,), "Gaussian": (1, 4), "Poisson": (2,), "Bernoulli": (3,)}
    assert rows.levels[0] == ["east", "north", "west"] and model.family.parts[0].levels == (3,)
    assert type(mixed_mixture(Rows(mixed_table()[["visits"]]), 2, "full", None).family).__name__ == "Poisson"


def read_as(table):
    """As `read` finds it in a file."""
    table.to_parquet("table.parquet")
    return read("table.parquet")


def test_levels_are_those_of_the_data():
    x = pd.DataFrame({"a": pd.Categorical(["u", "v", "u"], ["u", "v", "w"]), "b": [0, 4, 2], "c": [0.0, 0.0, 0.0]})
    assert category_counts(Rows(x)) == [3, 5, 1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("names.csv", ["column 'a' holds 60 different words in 60 rows", "correct the values that are not numbers"]),
        ("large.csv", ["column 'a' holds numbers up to 5000", "--model mixed treats it as counts"]),
    ],
)
def test_columns_that_hold_no_categories_are_refused(run, name, words):
    pd.DataFrame({"a": [f"n{i}" for i in range(60)]}).to_csv("names.csv", index=False)
    pd.DataFrame({"a": [0, 5000]}).to_csv("large.csv", index=False)
    assert refused(run("compare", name, "--model", "categorical", *QUICK), *words)


def test_what_is_neither_numbers_nor_words_is_refused(run):
    pd.DataFrame({"a": pd.date_range("2020", periods=3), "b": [1, 2, 3]}).to_parquet("dates.parquet")
    assert refused(run("fit", "dates.parquet", "--quiet"), "column 'a'", "timestamp", "expected numbers or words")


def test_a_table_of_categories_names_the_models_for_it(run, tmp_path):
    result = run("compare", "titanic", *QUICK)
    assert refused(result)
    assert result.stderr == (
        "error: columns 'class', 'sex', 'age', 'survived' of titanic hold categories, but --model gaussian expects "
        "numbers: use --model categorical, mixed or vae, or drop such columns\n"
    )
    assert list(tmp_path.iterdir()) == []


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

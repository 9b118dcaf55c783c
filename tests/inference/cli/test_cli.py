import os
import pickle
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import typer

import lowerbound
from lowerbound import datasets
from lowerbound.data.read_file import read
from lowerbound.inference import EM, compare, fit, load
from lowerbound.inference.cli import engines_by_name, models_by_name
from lowerbound.inference.cli.app import app
from lowerbound.inference.cli.name_options import ARGUMENTS
from lowerbound.inference.report.write_report import FILES
from lowerbound.models import GaussianMixture

QUICK = ["--engines", "em,svi-exact", "--max-passes", "5", "--quiet"]


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


def test_an_argument_out_of_range_is_one_line(run):
    """Our sentence where there is one, and that of the parser of options elsewhere."""
    seed = "expected a whole number from 0 to 2^63 - 1"
    for command in ("compare", "fit", "select", "impute"):
        for arguments, status, words in (
            (("--seed", -1), 1, f"--seed is -1, {seed}"),
            (("--seed", 2**64), 1, f"--seed is {2**64}, {seed}"),
            (("--seed", "x"), 2, "Invalid value for '--seed': "),
            (("--restarts", 0), 2, "Invalid value for '--restarts': "),
            (("--max-passes", -1), 2, "Invalid value for '--max-passes': "),
            (
                ("--components", "x"),
                *((1, "--components is 'x'") if command == "select" else (2, "Invalid value for '--components'")),
            ),
            (("--nonsense", 1), 2, "No such option: --nonsense"),
            (("more",), 2, "unexpected extra argument"),
        ):
            done = run(command, "faithful", *arguments)
            assert (done.exit_code, done.stdout) == (status, ""), done.output
            assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and words in done.stderr
            assert status == 1 or done.stderr.endswith(f" {command} --help\n")
    done = run("nonsense")
    assert done.exit_code == 2 and done.stderr.startswith("error: No such command 'nonsense'")
    assert run("fit").stderr.startswith("error: Missing argument 'DATA'")


def test_least_rows_of_compare(run):
    """As of fit, and refused before anything is fitted where a model has no weights."""
    done = run("compare", "faithful", "--engines", "em,svi-exact", "--max-passes", 5, "--least-rows", 200, "--quiet")
    assert done.exit_code == 0 and done.stdout.count("fewer than 200 rows") == 2
    for value, words in (
        (0, "--least-rows is 0.0, expected a positive number of rows"),
        (5, "--least-rows is 5.0, but PPCA has no weights that are estimated, expected a mixture: leave it out"),
    ):
        done = run("compare", "faithful", "--model", "gaussian,ppca", "--least-rows", value)
        assert done.exit_code == 1 and done.stderr == f"error: {words}\n" and not done.stdout


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
        "index.csv": ",a\n0,1.5\n0,2.5\n",
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
        "word.csv": ["columns 'name', 'kind' of word.csv hold categories", "--model categorical or mixed, or"],
        "hole.csv": ["column 1 ('b') has no value in any row"],
        "index.csv": ["column 0", "no name"],
        "empty.csv": ["comma-separated"],
        "header.csv": ["no rows"],
        "short.csv": ["1 row,", "2 components"],
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
        (["--variance-floor", "1"], ["--variance-floor is for covariances without correlations", "not for 'full'"]),
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
        (["--covariance", ""], ["--covariance is '', expected one of full, tied"]),
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


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        (["--learning-rate", "-1"], "--learning-rate is -1.0, expected a positive"),
        (["--model", "vae", "--hidden", "8,0"], "--hidden is 0, expected a whole number"),
        (["--model", "vae", "--latent", "9"], "--latent is 9 for 2 features"),
        (["--covariance", "round"], "--covariance is 'round', expected"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_an_error_names_the_option_as_it_is_typed(run, options, begins):
    result = run("compare", "faithful", "--engines", "svi", "--max-passes", "2", "--quiet", *options)
    assert refused(result) and result.stderr.startswith(f"error: {begins}")


def test_ctrl_c_during_the_import_is_one_line(tmp_path):
    """The import takes seconds. A module in place of one of its parts sends the signal in the middle of it."""
    (tmp_path / "torch.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nsignal.pause()\n")
    first = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    command, space = [sys.executable, "-m", "lowerbound", "datasets"], {**os.environ, "PYTHONPATH": first}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell in the background has it ignored
    found = subprocess.run(command, capture_output=True, text=True, env=space, timeout=60, preexec_fn=heard)
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "interrupted: nothing was written\n")


def test_arguments_have_the_names_of_options():
    commands = typer.main.get_command(app).commands.values()
    assert {option.name for command in commands for option in command.params} >= ARGUMENTS

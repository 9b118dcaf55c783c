"""`--out` replaces what lowerbound wrote, and no other file; a disk that fills leaves the earlier result."""

import os

import numpy as np
import pandas as pd
import pytest
from reference import full_disk

from lowerbound import datasets
from lowerbound.inference import load

FAST = ("-k", 2, "--max-passes", 3, "--quiet")
COMMANDS = {  # arguments but for --out, and the file or folder that is written
    "fit": (("fit", "x.csv", *FAST), "model.safetensors"),
    "compare": (("compare", "x.csv", *FAST, "--engines", "em"), "report"),
    "select": (("select", "x.csv", *FAST, "--folds", 0, "--restarts", 1), "report"),
    "impute": (("impute", "gaps.csv", *FAST, "--restarts", 1), "filled.csv"),
    "impute parquet": (("impute", "gaps.csv", *FAST, "--restarts", 1), "filled.parquet"),
}


@pytest.fixture
def tables(tmp_path):
    x = datasets.load("faithful")[:60]
    x.to_csv(tmp_path / "x.csv", index=False)
    x.mask(np.arange(120).reshape(60, 2) % 17 == 0).to_csv(tmp_path / "gaps.csv", index=False)
    x.to_csv(tmp_path / "other.csv", index=False)


def contents(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(result, words):
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and words in result.stderr
    return True


@pytest.mark.drawn(2)
@pytest.mark.parametrize(("arguments", "out"), COMMANDS.values(), ids=COMMANDS.keys())
def test_a_full_disk_is_one_sentence_and_the_earlier_result_stands(run, tables, tmp_path, monkeypatch, arguments, out):
    def written(*more):
        return run(*arguments, "--out", out, *more)

    with monkeypatch.context() as patch:
        patch.setattr("lowerbound.data.write_files.os.fsync", full_disk)
        before = contents(tmp_path)
        assert refused(written(), "No space left on device") and contents(tmp_path) == before
        assert not (tmp_path / "report").exists()
    assert written().exit_code == 0, "its own result of before may be replaced, below"
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("lowerbound.data.write_files.os.fsync", full_disk)
        assert refused(written("--seed", 1), "No space left on device") and contents(tmp_path) == before
    assert written("--seed", 1).exit_code == 0 and contents(tmp_path).keys() == before.keys()


def test_a_checkpoint_on_a_full_disk_is_one_sentence(run, tables, tmp_path, monkeypatch):
    monkeypatch.setattr("lowerbound.data.write_files.os.fsync", full_disk)
    before = contents(tmp_path)
    assert refused(run("fit", "x.csv", *FAST, "--checkpoint", "run.ckpt"), "cannot write run.ckpt: No space left")
    assert contents(tmp_path) == before


def test_no_command_replaces_another_file_or_its_input(run, tables, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "parts").mkdir()
    (tmp_path / "filled.csv").write_text("mine,alone\n1,2\n")
    (tmp_path / "filled.uncertainty.csv").write_text("of,another\n1,2\n")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "selection.png").write_bytes(b"mine")
    (tmp_path / "link.csv").symlink_to("x.csv")
    os.link(tmp_path / "x.csv", tmp_path / "hard.csv")
    assert run("fit", "x.csv", *FAST, "--checkpoint", "run.ckpt").exit_code == 0
    assert run("compare", "x.csv", *FAST, "--engines", "em").exit_code == 0
    pd.read_csv(tmp_path / "gaps.csv").to_parquet(tmp_path / "parts" / "0.parquet")
    (tmp_path / "report" / "comparison.csv").write_bytes((tmp_path / "x.csv").read_bytes())
    before = contents(tmp_path)
    holds = "it holds the data, choose another name for --out"
    for arguments, words in {
        ("fit", "x.csv", "--out", "x.csv"): holds,
        ("fit", "x.csv", "--out", "../" + tmp_path.name + "/x.csv"): holds,
        ("fit", "x.csv", "--out", "link.csv"): holds,
        ("fit", "link.csv", "--out", "x.csv"): holds,
        ("fit", "x.csv", "--out", "hard.csv"): holds,
        ("fit", "x.csv", "--out", "thesis.txt"): "the file that is there is not a saved fit",
        ("fit", "x.csv", "--out", "run.ckpt"): "the file that is there is not a saved fit",
        ("fit", "x.csv", "--checkpoint", "a", "--out", "./a"): "--out and --checkpoint are one file",
        ("fit", "x.csv", "--checkpoint", "x.csv"): "x.csv is not a checkpoint",
        ("compare", "report/comparison.csv"): holds,
        ("impute", "gaps.csv", "--out", "gaps.csv"): holds,
        ("impute", "gaps.csv", "--out", "filled.csv"): "is not a table of lowerbound impute with its uncertainties",
        ("impute", "parts", "--out", "parts/1.parquet"): holds,
        ("select", "x.csv", "--out", "pictures"): "it holds another selection.png, which lowerbound did not write",
    }.items():
        assert refused(run(*arguments, "--quiet", "--max-passes", 2), words), arguments
    assert contents(tmp_path) == before


@pytest.mark.drawn(1)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_impute_replaces_its_own_tables_as_long_as_nobody_changed_them(run, tables, tmp_path, kind):
    """And not a pair that looks like one: names that are those of the table, beside it."""

    def write(table, name):
        getattr(table, "to_csv" if kind == "csv" else "to_parquet")(tmp_path / f"{name}.{kind}", index=False)

    def impute(out):
        return run("impute", "gaps.csv", *FAST, "--restarts", 1, "--out", f"{out}.{kind}")

    own = pd.DataFrame({"name": ["a", "b"], "score": [1.0, 2.0]})
    write(own, "mine")
    write(own[["name"]], "mine.uncertainty")
    before = contents(tmp_path)
    words = "is not a table of lowerbound impute with its uncertainties, as it was written: choose another name"
    assert refused(impute("mine"), words) and contents(tmp_path) == before
    assert impute("filled").exit_code == impute("filled").exit_code == 0
    read = pd.read_csv if kind == "csv" else pd.read_parquet
    for name in ("filled", "filled.uncertainty"):
        kept = (tmp_path / f"{name}.{kind}").read_bytes()
        write(read(tmp_path / f"{name}.{kind}").assign(eruptions=1.0), name)
        before = contents(tmp_path)
        assert refused(impute("filled"), f"{name}.{kind}: the file that is there {words}")
        assert contents(tmp_path) == before
        (tmp_path / f"{name}.{kind}").write_bytes(kept)
    (tmp_path / f"filled.{kind}").unlink()
    assert impute("filled").exit_code == 0


def test_an_empty_file_may_be_written_and_a_link_is_followed(run, tables, tmp_path):
    """`--out $(mktemp)`, and a link to a larger disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "empty").touch()
    (tmp_path / "link").symlink_to("disk/empty")
    for _ in range(2):
        assert run("fit", "x.csv", *FAST, "--out", "link").exit_code == 0
    assert (tmp_path / "link").is_symlink() and load(tmp_path / "disk" / "empty").model.is_set


def test_names_of_files_need_not_be_utf_8(run, tables, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / "gaps.csv").rename(tmp_path / f"{name}.csv")
    for arguments, out in (COMMANDS["compare"], COMMANDS["impute"]):
        done = run(arguments[0], f"{name}.csv", *arguments[2:], "--model", "gaussian", "--out", f"{name} {out}")
        assert done.exit_code == 0, done.output
        assert (tmp_path / f"{name} {out}").exists() and "\\udce9" in done.stdout
    assert refused(run("fit", f"{name} of another.csv"), "there is no file caf")

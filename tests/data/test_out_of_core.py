"""Tables larger than memory: parts of them, and files that are read piece by piece."""

import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from reference import bits
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lowerbound.data import chunked_methods
from lowerbound.data import shuffle as shuffle_module
from lowerbound.data import table as table_module
from lowerbound.data.held_out import split
from lowerbound.data.open_table import as_table
from lowerbound.data.read_ahead import read_ahead
from lowerbound.data.read_file import read
from lowerbound.inference import EM, SVI, OnlineEM, compare, fit
from lowerbound.models import GaussianMixture, Mixture, Rows
from lowerbound.models.families.categorical import Categorical
from lowerbound.models.families.product import Product

X = np.random.default_rng(0).normal(size=(1000, 3))


class Listed(Dataset):
    """A map-style dataset that remembers which rows were asked for."""

    def __init__(self, x):
        self.x, self.asked = torch.tensor(x), []

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        self.asked.append(i)
        return self.x[i]


def mapped(x, path):
    np.save(path, x)
    return np.load(path, mmap_mode="r")


def parquet(frame, folder, files=0, rows=170):
    """The path of a Parquet file with row groups of so many rows, or of a folder of files."""
    if not files:
        frame.to_parquet(folder / "x.parquet", row_group_size=rows)
        return folder / "x.parquet"
    (folder / "x").mkdir()
    for i, part in enumerate(np.array_split(np.arange(len(frame)), files)):
        frame.iloc[part].to_parquet(folder / "x" / f"{i}.parquet", row_group_size=rows, index=False)
    return str(folder / "x")


KINDS = {
    "tensor": lambda x, folder: torch.tensor(x),
    "array": lambda x, folder: x,
    "mapped": lambda x, folder: mapped(x, folder / "x.npy"),
    "npy": lambda x, folder: mapped(x, folder / "x.npy") is not None and folder / "x.npy",
    "parquet": lambda x, folder: parquet(pd.DataFrame(x, columns=list("abc")), folder),
    "folder": lambda x, folder: parquet(pd.DataFrame(x, columns=list("abc")), folder, files=3),
    "frame": lambda x, folder: pd.DataFrame(x, columns=list("abc")[: x.shape[1]]),
    "tensors": lambda x, folder: TensorDataset(torch.tensor(x)),
    "dataset": lambda x, folder: Listed(x),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_the_rows_of_the_table(kind, tmp_path):
    weights, labels = np.arange(1000) % 4, np.arange(1000) % 3 - 1
    table = KINDS[kind](X, tmp_path)
    rows = Rows(table, weights, labels)
    _ = rows.moments
    part = rows.part(200, 900).part(100, 400)  # rows 300 .. 599
    if kind == "dataset":
        table.asked.clear()
    chunk = next(part.chunks())
    kept = np.flatnonzero(weights[300:600] > 0) + 300
    assert chunk.numbers.tolist() == kept.tolist()
    assert np.array_equal(chunk.x, X[kept]) and np.array_equal(chunk.labels, labels[kept])
    assert np.array_equal(chunk.weights, weights[kept])
    if kind == "dataset":
        assert set(table.asked) == set(range(300, 600))
    mean = np.average(X[300:600], 0, weights[300:600])
    np.testing.assert_allclose(part.moments.mean, mean, rtol=1e-12, atol=1e-12)
    assert len(part) == 300 and part.positive == len(kept) and part.total_weight == weights[300:600].sum()


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_in_a_part_names_the_row_of_the_table_and_other_rows_are_not_looked_at(kind, tmp_path):
    x = X.copy()
    x[7, 1] = x[512, 2] = np.inf
    rows = Rows(KINDS[kind](x, tmp_path))
    assert len(next(rows.part(8, 512).chunks()).x) == 504
    with pytest.raises(ValueError, match="row 512, column 2"):
        _ = rows.part(500, 600).moments


def test_a_part_may_weigh_nothing_and_must_be_one():
    rows = Rows(X, np.arange(1000) >= 500)
    assert rows.part(0, 500).total_weight == 0
    for start, stop in ((3, 3), (-1, 4), (5, 1001)):
        with pytest.raises(ValueError, match="expected 0 <= start < stop <= 1000"):
            rows.part(start, stop)
    with pytest.raises(TypeError, match="DataLoader"):
        Rows(DataLoader(TensorDataset(torch.tensor(X)))).part(0, 3)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "tensor"])
@pytest.mark.parametrize("engine", [EM(), OnlineEM(batch_size=100), SVI("exact", batch_size=64)], ids=repr)
def test_a_fit_has_the_same_bits_wherever_its_rows_are(kind, engine, tmp_path):
    model = GaussianMixture(2, 3)
    expected, found = (fit(model, x, engine, max_passes=4) for x in (torch.tensor(X), KINDS[kind](X, tmp_path)))
    if kind in ("frame", "parquet", "folder"):  # whose columns lie one after the other: sums round in another way
        torch.testing.assert_close(found.bounds, expected.bounds, rtol=1e-12, atol=0)
        torch.testing.assert_close(found.model.family.loc, expected.model.family.loc, rtol=1e-10, atol=1e-10)
        assert bits(found.model) == bits(fit(model, KINDS["frame"](X, tmp_path), engine, max_passes=4).model)
    else:
        assert bits(found.model) == bits(expected.model) and torch.equal(found.bounds, expected.bounds)


def mixed(n=700):
    """Words with a level that no row has, words that are plain, numbers with gaps, whole numbers, yes and no."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "colour": pd.Categorical(rng.choice(["red", "blue"], n), categories=["red", "green", "blue"]),
            "size": rng.choice(["s", "m", "l"], n),
            "length": rng.normal(size=n),
            "count": pd.array(rng.integers(0, 5, n), dtype="Int64"),
            "is_new": rng.random(n) < 0.5,
        }
    )
    frame.loc[rng.choice(n, 50), "length"] = np.nan
    frame.loc[rng.choice(n, 50), "count"] = pd.NA
    frame.loc[rng.choice(n, 50), "colour"] = None
    return frame


@pytest.mark.parametrize("files", [0, 4])
def test_names_words_and_nulls_of_parquet_are_those_of_the_frame(files, tmp_path):
    frame = mixed()
    path = parquet(frame, tmp_path, files, rows=64)
    coded = frame.assign(size=frame["size"].astype("category"))  # in the order of the alphabet
    ours, theirs = Rows(path, missing=True), Rows(coded, missing=True)
    assert ours.schema == theirs.schema and ours.columns == theirs.columns and ours.levels == theirs.levels
    for index in (slice(0, 700), slice(63, 65), torch.tensor([699, 0, 64, 64, 5])):
        torch.testing.assert_close(ours._read(index).x, theirs._read(index).x, rtol=0, atol=0, equal_nan=True)
    assert ours.gaps == theirs.gaps and ours.gaps.cells > 100
    model = Mixture(Product(Categorical(2, [3, 3]), GaussianMixture(2, 3, "diag").family, columns=[[0, 1], [2, 3, 4]]))
    (tmp_path / "turned").mkdir()
    turned = parquet(frame[frame.columns[::-1]], tmp_path / "turned", rows=200)
    by_file, by_frame = (fit(model, x, EM(), max_passes=5) for x in (path, coded))
    assert bits(by_file.model) == bits(by_frame.model)
    expected = by_frame.model.bound(coded)
    for x in (path, turned):
        torch.testing.assert_close(by_frame.model.bound(x), expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(by_frame.model.posterior(x).probs, by_frame.model.posterior(coded).probs)
    scores = compare(path, a=by_file, b=by_frame).frame()
    assert scores["log_likelihood"]["a"] == pytest.approx(float(expected.sum()), rel=1e-12)


def test_what_is_wrong_with_files_is_said_in_one_sentence(tmp_path):
    good = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})

    def folder(name, *frames):
        (tmp_path / name).mkdir()
        for i, frame in enumerate(frames):
            frame.to_parquet(tmp_path / name / f"{i}.parquet")
        return tmp_path / name

    (tmp_path / "text.parquet").write_text("no")
    (tmp_path / "x.csv").write_text("1,2")
    dates = good.assign(a=pd.date_range("2020", periods=2))
    for path, error, words in (
        (tmp_path / "none.parquet", FileNotFoundError, "there is no file"),
        (tmp_path / "x.csv", ValueError, "expected .npy, .parquet or a folder"),
        (tmp_path / "text.parquet", ValueError, "not a Parquet file"),
        (folder("empty"), ValueError, "a folder without .parquet files"),
        (folder("no rows", good[:0]), ValueError, "an empty table with 0 rows"),
        (folder("names", good, good.rename(columns={"b": "c"})), ValueError, "has columns a, c, expected those of"),
        (
            folder("types", good, good.assign(b=["x", "y"])),
            ValueError,
            "column 'b' of .* holds words, expected numbers",
        ),
        (folder("dates", dates), TypeError, "column 'a' holds datetime64.* values, expected real numbers"),
        (folder("infinite", good, good.replace(4.0, np.inf)), ValueError, r"row 3, column 1 \('b'\) holds an infinite"),
    ):
        with pytest.raises(error, match=words):
            fit(GaussianMixture(1, 2), path, EM())
    torn = parquet(pd.DataFrame(X, columns=list("abc")), tmp_path)
    content = bytearray(torn.read_bytes())
    content[100:4000] = bytes(3900)
    torn.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read near row"):
        fit(GaussianMixture(1, 3), torn, EM())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["array", "mapped", "parquet"])
def test_windows_hold_every_row_once_in_whole_batches(kind, weighted, tmp_path, monkeypatch):
    monkeypatch.setattr(table_module, "WINDOW_CELLS", 900)  # 300 rows
    monkeypatch.setattr(table_module, "SCATTERED_ROWS", 300)
    monkeypatch.setattr(table_module, "RUNS", 90)
    x = X.copy()
    x[:, 0] = np.arange(1000)
    weights = np.arange(1000) % 3 if weighted else None
    rows = Rows(KINDS[kind](x, tmp_path), weights)
    seen = [chunk.x[:, 0].long() for chunk in rows.batches(64, torch.Generator().manual_seed(0))]
    again = [chunk.x[:, 0].long() for chunk in rows.batches(64, torch.Generator().manual_seed(0))]
    assert torch.equal(torch.cat(seen), torch.cat(again))
    expected = np.arange(1000) if weights is None else np.flatnonzero(weights)
    assert torch.cat(seen).sort().values.tolist() == expected.tolist()
    assert [len(batch) for batch in seen[:-1]] == [64] * (len(expected) // 64)
    assert all(batch.diff().abs().median() > 10 for batch in seen[:-1])  # no batch is a stretch of the table


def test_rows_of_a_large_table_are_drawn_evenly(monkeypatch):
    """Of 1000 rows of positive weight 100, 400 times: counts of a row are binomial, mean 40, s.d. 6; the chance that
    one of 1000 is 6 s.d. off is 2e-6."""
    monkeypatch.setattr(shuffle_module, "SCATTERED_ROWS", 10)
    monkeypatch.setattr(shuffle_module, "COUNTED", 77)
    weights = (torch.arange(3000) % 3 == 1).double()
    count, generator = torch.zeros(3000), torch.Generator().manual_seed(0)
    for _ in range(400):
        drawn = shuffle_module.sample_row_numbers(3000, weights, 1000, 100, generator)
        assert len(drawn.unique()) == 100 and torch.equal(drawn, drawn.sort().values)
        count[drawn] += 1
    assert count[weights == 0].sum() == 0
    assert (count[weights > 0] - 40).abs().max() < 36


def test_reading_ahead_keeps_order_and_errors_and_ends_with_the_iteration():
    def items():
        yield from range(3)
        raise OSError("the disk is gone")

    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(read_ahead(items()))
    assert list(read_ahead(iter(range(5)))) == list(range(5))
    found = []
    with pytest.raises(OSError, match="disk"):
        for item in read_ahead(items()):
            found.append(item)
    assert found == [0, 1, 2]
    abandoned = read_ahead(iter(range(100)))
    assert next(abandoned) == 0
    abandoned.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_the_bound_of_many_rows_is_taken_in_chunks_and_names_their_rows(monkeypatch, tmp_path):
    monkeypatch.setattr(chunked_methods, "CHUNK_ROWS", 300)
    monkeypatch.setattr(chunked_methods, "EVALUATION_ROWS", 128)
    model = fit(GaussianMixture(2, 3), X, EM(), max_passes=3).model
    expected = torch.cat([model.bound(part) for part in np.split(X, 10)])
    for kind in ("tensor", "mapped", "parquet", "frame"):
        (tmp_path / kind).mkdir()
        torch.testing.assert_close(model.bound(KINDS[kind](X, tmp_path / kind)), expected, rtol=1e-12, atol=1e-12)
    bad = X.copy()
    bad[777, 1] = np.inf
    with pytest.raises(ValueError, match="row 777, column 1"):
        model.bound(bad)


@pytest.mark.parametrize("scattered", [2000, 100])
def test_rows_held_out_of_a_file_are_a_view(scattered, tmp_path, monkeypatch):
    monkeypatch.setattr("lowerbound.data.held_out.SCATTERED_ROWS", scattered)
    monkeypatch.setattr("lowerbound.data.held_out.CHUNK_ROWS", 64)
    table = mapped(X, tmp_path / "x.npy")
    rest, held = split(table, 0.2, 3)
    assert (len(rest), len(held)) == (800, 200)
    found = [next(Rows(part).chunks()).x for part in (rest, held)]
    numbers = [np.flatnonzero((X[:, None] == part.numpy()).all(2).any(1)) for part in found]
    assert sorted(np.concatenate(numbers)) == list(range(1000))
    for part, own in zip(found, numbers, strict=True):
        assert np.array_equal(part, X[own])
    if scattered > 1000:
        assert np.array_equal(found[1], split(X, 0.2, 3)[1])


def test_the_command_line_reads_folders(tmp_path, monkeypatch):
    path = parquet(pd.DataFrame(X, columns=list("abc")), tmp_path, files=3)
    np.testing.assert_array_equal(read(path).to_numpy(), X)
    monkeypatch.setattr("lowerbound.data.read_file.IN_MEMORY", 0)
    rest, held = split(read(path), 0.25, 0)
    assert as_table(rest).schema.columns == ("a", "b", "c") and len(held) == 250


SCRIPT = """
import sys
from lowerbound.inference import EM, fit
from lowerbound.models import GaussianMixture
fit(GaussianMixture(2, 16), sys.argv[1], EM(tol=0), max_passes=2, validation=sys.argv[2])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss begins at the parent's
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Of 100 MiB and as many for the validation less than half stays: peaks differ by less than 90 MiB."""
    rng, peaks = np.random.default_rng(0), []
    for name, n in (("small", 1 << 16), ("large", 13 << 16)):
        file = np.lib.format.open_memmap(tmp_path / name, "w+", np.float64, (n, 16))
        for start in range(0, n, 1 << 16):
            file[start : start + (1 << 16)] = rng.normal(size=(1, 16)) if start else rng.normal(size=(1 << 16, 16))
        file.flush()
        path = (tmp_path / name).rename(tmp_path / f"{name}.npy")
        done = subprocess.run([sys.executable, "-c", SCRIPT, path, path], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 90


def test_by_chunks_needs_nothing_of_a_class(monkeypatch):
    monkeypatch.setattr(chunked_methods, "CHUNK_ROWS", 100)

    class Model:
        @chunked_methods.by_chunks
        def total(self, x):
            return x.sum(-1)

    np.testing.assert_allclose(Model().total(X), X.sum(1))


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan"), 1e-9])
def test_a_share_that_leaves_a_side_empty_is_refused(share):
    with pytest.raises(ValueError, match=r"^share is .* of 1000 rows, expected a number between 0 and 1"):
        split(X, share, 0)

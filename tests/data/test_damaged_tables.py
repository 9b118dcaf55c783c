"""Files of tables whose own description is not true, and names of files that are not UTF-8."""

import os

import numpy as np
import pandas as pd
import pytest

from lowerbound.data import Rows, as_table, read
from lowerbound.inference import EM, fit, load
from lowerbound.models import GaussianMixture

X = np.arange(240.0).reshape(60, 4)
NAME = os.fsdecode(b"caf\xe9")  # in Latin-1, as old systems wrote it


def npy(path, header):
    """An .npy file of X with another header."""
    text = (header + " " * (117 - len(header)) + "\n").encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + X.tobytes())


HEADERS = {
    "true": ("'<f8'", "False", "(60, 4)", None),
    "fewer rows": ("'<f8'", "False", "(50, 4)", "has 2048 bytes, but 1728 by its header"),
    "more rows": ("'<f8'", "False", "(70, 4)", "is not an array of numbers"),
    "rows for all memory": ("'<f8'", "False", "(4000000000000000000, 4)", "is not an array of numbers"),
    "negative": ("'<f8'", "False", "(-60, -4)", "is not an array of numbers|has 2048 bytes|rows"),
    "shorter numbers": ("'<f4'", "False", "(60, 4)", "has 2048 bytes, but 1088 by its header"),
    "objects": ("'|O'", "False", "(60, 4)", "is not an array of numbers"),
    "a call": ("'<f8'", "exit()", "(60, 4)", "is not an array of numbers"),
    "no number type": ("'<q9'", "False", "(60, 4)", "is not an array of numbers"),
    "a number as shape": ("'<f8'", "False", "240", "is not an array of numbers"),
    "brackets": ("'<f8'", "False", "(" * 40, "is not an array of numbers"),
}


@pytest.mark.parametrize(("kind", "order", "shape", "words"), HEADERS.values(), ids=HEADERS.keys())
def test_an_npy_header_that_lies_is_refused(tmp_path, kind, order, shape, words):
    path = tmp_path / "x.npy"
    npy(path, f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}")
    if words is None:
        np.testing.assert_array_equal(read(str(path)), X)
        return
    for reads in (lambda: read(str(path)), lambda: Rows(path)):
        with pytest.raises(ValueError, match=words) as caught:
            reads()
        assert type(caught.value) is ValueError and "\n" not in str(caught.value)


@pytest.fixture
def parquet(tmp_path):
    frame = pd.DataFrame(X[:, :2], columns=["a", "b"]).assign(c=["u", "v", "w"] * 20)
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=25, write_page_checksum=True)
    return tmp_path / "x.parquet", frame


def both(path):
    """The rows of a Parquet file as it is read at once, and in batches."""
    return [
        lambda: np.concatenate([chunk.x.numpy() for chunk in Rows(read(str(path)), missing=True).chunks()]),
        lambda: np.concatenate([chunk.x.numpy() for chunk in Rows(path, missing=True).chunks()]),
    ]


def test_a_parquet_file_with_another_end_is_refused_or_reads_as_before(parquet):
    """Every seventh byte of the description at its end is another: also the numbers of rows, offsets and sizes."""
    path, _ = parquet
    content = path.read_bytes()
    size = int.from_bytes(content[-8:-4], "little")
    whole = [reads() for reads in both(path)]
    refused = 0
    for at in [*range(len(content) - 8 - size, len(content), 7), *range(len(content) - 8, len(content))]:
        path.write_bytes(content[:at] + bytes([content[at] ^ 2]) + content[at + 1 :])
        for reads, expected in zip(both(path), whole, strict=True):
            try:
                found = reads()
            except (ValueError, TypeError) as error:
                assert type(error) in (ValueError, TypeError) and "\n" not in str(error) and str(error)
                refused += 1
            else:  # what is said of statistics, names or encodings is not used
                assert found.shape == expected.shape
    assert refused > 100


def test_pages_are_compared_with_their_checksums(parquet):
    """Where the file has some, as those of Spark and of `lowerbound impute` do."""
    path, frame = parquet
    content = path.read_bytes()
    size = int.from_bytes(content[-8:-4], "little")
    found = 0
    for at in range(60, len(content) - 8 - size, 40):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        for reads, expected in zip(both(path), [frame, frame], strict=True):
            try:
                np.testing.assert_array_equal(reads()[:, :2], expected[["a", "b"]].to_numpy())
            except ValueError:
                found += 1
    assert found > 20


def test_names_of_files_need_not_be_utf_8(tmp_path):
    """Tables of all kinds, a saved fit and a checkpoint."""
    frame = pd.DataFrame(X[:, :2] + np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"])
    frame.to_csv(tmp_path / f"{NAME}.csv", index=False)
    np.save(tmp_path / f"{NAME}.npy", frame.to_numpy())
    frame.to_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").rename(tmp_path / f"{NAME}.parquet")
    for kind in ("csv", "npy", "parquet"):
        np.testing.assert_allclose(read(str(tmp_path / f"{NAME}.{kind}")), frame.to_numpy(), rtol=1e-15)
    assert len(as_table(tmp_path / f"{NAME}.parquet").read_all()) == 60
    run = [fit(GaussianMixture(1, 2), frame, EM(), checkpoint=tmp_path / f"{NAME}.ckpt") for _ in range(2)]
    run[0].save(tmp_path / f"{NAME}.fit")
    assert load(tmp_path / f"{NAME}.fit").bounds.equal(run[1].bounds)

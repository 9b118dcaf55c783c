"""A first line of numbers in a CSV file is a header or a row: told by its numbers, or by the user."""

import warnings

import numpy as np
import pandas as pd
import pytest

from lowerbound.data import read

RNG = np.random.default_rng(0)
N = RNG.normal(size=(60, 2)).round(3)
COUNTS = RNG.poisson(3, (60, 3))
# first line, table below, whether the first line is a header
CASES = {
    "pandas without names": ("0,1", N, True),
    "the same, one column wide": ("0", N[:, :1], True),
    "the same, of counts": ("0,1,2,3,4", RNG.poisson(3, (60, 5)), True),
    "years above rates": ("2019,2020", N, True),
    "years above counts": ("2019,2020,2021", COUNTS, True),
    "years above populations": ("2019,2020", RNG.integers(100_000, 9_000_000, (60, 2)), True),
    "years of censuses": ("1990,2000,2010", N @ np.ones((2, 3)) * 50 + 2000, True),
    "years above words": ("2019,2020", RNG.choice(["yes", "no"], (60, 2)), True),
    "codes 0, 1, 2 as a row": ("0,1,2", RNG.integers(0, 3, (60, 3)), False),
    "counts as a row": ("2,4,3", COUNTS, False),
    "a row of a growing table": ("1,2", np.arange(2, 62)[:, None] * [1, 2], False),
    "measurements as a row": ("0.3,1.2", N, False),
    "two whole numbers among measurements": ("3,1", N * 3, False),
    "years as a row": ("1999,2000", RNG.integers(1950, 2020, (60, 2)), False),
    "an outlier as a row": ("9,4,3", COUNTS, False),
    "one number as a row": ("5", N[:, :1] * 0.3, False),
    "one number above words": ("5", RNG.choice(["yes", "no"], (60, 1)), True),
    "a rainless first day": ("0", np.maximum(N[:, :1], 0), False),
    "no count in the first row": ("0", COUNTS[:, :1] + 1, False),
    "two numbers in the range of measurements": ("1,2", N * 3, False),
}
GUESSES = [
    name for name, (first, _, is_header) in CASES.items() if is_header or first in ("0", "0,1,2", "1,2", "1999,2000")
]


def read_and_warned(path, expected):
    """What `read` returns; it says that it guessed where this is expected, and not elsewhere."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = read(str(path))
    assert [str(each.message)[:23] for each in said] == ["the first line of x.csv"] * expected
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_first_line_of_numbers(tmp_path, name):
    first, table, is_header = CASES[name]
    path = tmp_path / "x.csv"
    path.write_text(first + "\n" + pd.DataFrame(table).to_csv(index=False, header=False))
    found = read_and_warned(path, name in GUESSES)
    assert len(found) == len(table) + (not is_header)
    assert list(found.columns) == (first.split(",") if is_header else [f"column {j}" for j in range(found.shape[1])])
    assert len(read(str(path), header=True)) == len(table) and len(read(str(path), header=False)) == len(table) + 1
    if is_header and table.dtype.kind != "U":
        np.testing.assert_array_equal(found.to_numpy(float), table)


def test_short_files_and_other_files(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("0,1\n")
    assert read_and_warned(path, True).shape == (1, 2)
    pd.DataFrame(N).to_csv(path, index=False)  # as pandas writes an array
    assert read_and_warned(path, True).shape == (60, 2)
    np.save(tmp_path / "x.npy", N)
    for other in ("faithful", str(tmp_path / "x.npy")):
        with pytest.raises(ValueError, match=r"header is True for .*, expected a \.csv file"):
            read(other, header=True)


@pytest.mark.parametrize("names", [["0", "1"], ["x", "y"]])
def test_row_names_of_pandas_are_left_out_and_said(tmp_path, names):
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=names)
    for table, path in ((x, "numbers.csv"), (x.set_axis([f"row {i}" for i in range(30)]), "words.csv")):
        table.to_csv(tmp_path / path)
        with pytest.warns(UserWarning, match="first column of .* has no name and another value in each row"):
            found = read(tmp_path / path)
        pd.testing.assert_frame_equal(found, x, check_names=False)


def test_a_column_without_a_name_that_repeats_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text(",x\n1,2.5\n1,3.5\n2,4.5\n")
    with pytest.raises(ValueError, match="has no name"):
        read(tmp_path / "x.csv")

"""Tables larger than memory: parts of them, and files that are read piece by piece."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lowerbound.models import Rows

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


KINDS = {
    "tensor": lambda x, folder: torch.tensor(x),
    "array": lambda x, folder: x,
    "mapped": lambda x, folder: mapped(x, folder / "x.npy"),
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

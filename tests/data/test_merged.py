"""Rows that are alike, merged into patterns with counts: the same sums."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset, TensorDataset

from lowerbound.data.duplicate_rows import all_equal, comparable_values, number_distinct, row_hashes
from lowerbound.inference import EM, fit
from lowerbound.models import CategoricalMixture, Rows, seed


@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 3), st.booleans(), st.booleans())
def test_the_patterns_of_numpy(draw, n, d, weighted, labelled):
    rng = np.random.default_rng(draw)
    x = rng.integers(0, 2, (n, d)).astype(float)
    weights = rng.integers(0, 3, n) + (np.arange(n) == 0) if weighted else None
    labels = rng.integers(-1, 2, n) if labelled else None
    rows = Rows(x, weights, labels)
    table = x if labels is None else np.column_stack([x, labels])
    patterns, code = np.unique(table, axis=0, return_inverse=True)
    if 2 * len(patterns) > n:
        assert rows.merged is rows
        return
    merged = rows.merged
    found = merged.table if labels is None else torch.cat([merged.table, merged.labels[:, None].double()], 1)
    order = np.lexsort(found.numpy().T[::-1])
    np.testing.assert_array_equal(found.numpy()[order], patterns)
    np.testing.assert_allclose(merged.weights.numpy()[order], np.bincount(code.ravel(), weights))
    assert merged.total_weight == rows.total_weight
    assert rows.merged is merged  # once


@settings(max_examples=8)
@given(st.integers(0, 2**31))
def test_em_is_the_same(draw):
    rng = np.random.default_rng(draw)
    x = rng.integers(0, 3, (300, 3)).astype(float)
    weights, labels = rng.integers(1, 3, 300), np.where(rng.random(300) < 0.1, 1, -1)
    model = seed(CategoricalMixture(2, [3] * 3), x, seed=draw % 1000)
    merged = fit(model, x, EM(tol=0), weights=weights, labels=labels, max_passes=5)
    assert len(Rows(x, weights, labels).merged) <= 54
    chunks = Subset(TensorDataset(torch.tensor(x)), range(300))  # which is not merged
    whole = fit(model, chunks, EM(tol=0), weights=weights, labels=labels, max_passes=5)
    torch.testing.assert_close(merged.bounds, whole.bounds, rtol=1e-12, atol=0)
    torch.testing.assert_close(merged.model.family.probs, whole.model.family.probs, rtol=1e-10, atol=1e-14)


def test_only_tables_in_memory_and_only_where_it_pays(tmp_path):
    x = np.repeat([[0.0, 1.0], [2.0, 3.0]], 10, 0)
    np.save(tmp_path / "x.npy", x)
    for other in (
        Subset(TensorDataset(torch.tensor(x)), range(20)),
        DataLoader(TensorDataset(torch.tensor(x)), batch_size=5),
        np.load(tmp_path / "x.npy", mmap_mode="r"),
    ):
        rows = Rows(other)
        assert rows.merged is rows
    for table in (x, x.astype(int), torch.tensor(x), torch.tensor(x).float(), pd.DataFrame(x)):
        assert len(Rows(table).merged) == 2
    distinct_rows = Rows(np.arange(20.0).reshape(10, 2))
    assert distinct_rows.merged is distinct_rows


def test_nan_is_like_nan_and_minus_zero_like_zero():
    payload = np.array([0x7FF8000000000001], np.uint64).view(float)[0]
    x = torch.tensor([[np.nan, 0.0], [payload, -0.0], [-np.nan, 0.0], [1.0, np.nan]])
    number, first = number_distinct(row_hashes(comparable_values(x, None)))
    assert number.tolist() == [0, 0, 0, 1] and first.tolist() == [0, 3]
    assert all_equal(x[:1], x[1:2]) and not all_equal(x[:1], x[3:])


def test_two_patterns_of_one_hash_are_not_taken_for_one(monkeypatch):
    monkeypatch.setattr("lowerbound.data.duplicate_rows.row_hashes", lambda x: np.zeros(len(x), np.uint64))
    rows = Rows(np.array([[0.0], [1.0]] * 5))
    assert rows.merged is rows


@pytest.mark.parametrize("step", [1, 2**-40])
def test_hashes_of_many_codes_are_all_different(step):
    x = step * torch.cartesian_prod(*[torch.arange(8.0).double()] * 5)
    assert len(np.unique(row_hashes(x))) == len(x)

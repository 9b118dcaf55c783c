"""Arguments that are no table, weights, labels or seed: one sentence each, from the same few places."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lowerbound.data import Rows, split
from lowerbound.inference import EM, bootstrap, evidence, fit, select, standard_errors
from lowerbound.models import BayesianMixture, GaussianMixture, Poisson, PoissonMixture, linear_vae, seed

X = np.random.default_rng(0).poisson(4, (30, 2)).astype(float)
MODEL = PoissonMixture(1, 2)
FITTED = fit(MODEL, X, EM())


# seeds

SEEDED = {
    "fit": lambda s: fit(MODEL, X, EM(), seed=s),
    "seed": lambda s: seed(MODEL, X, seed=s),
    "sample": lambda s: FITTED.model.sample(2, seed=s),
    "draw_missing": lambda s: FITTED.model.draw_missing([[1.0, np.nan]], seed=s),
    "select": lambda s: select(X, [MODEL], folds=2, restarts=1, seed=s),
    "bootstrap": lambda s: bootstrap(FITTED, X, repeats=2, seed=s),
    "draw": lambda s: seed(BayesianMixture(Poisson(1, 2)), X).draw(2, seed=s),
    "evidence": lambda s: evidence(seed(linear_vae(2, 1), X), X, seed=s),
    "split": lambda s: split(X, 0.5, seed=s),
}


@pytest.mark.parametrize("call", SEEDED.values(), ids=SEEDED.keys())
def test_seeds(call, as_users_run_it):
    for bad in (-1, 1.5, 2**70, "x"):
        with pytest.raises(ValueError, match=r"^seed is .*, expected a whole number from 0 to 2\^63 - 1$"):
            call(bad)
    for good in (np.int64(3), 2**63 - 1):
        call(good)


# tables, weights, labels


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


ROWS = [torch.ones(2) * i for i in range(10)]
TABLES = {
    "sparse": (torch.tensor(X).to_sparse(), TypeError, r"got a tensor that is sparse .*: pass x.to_dense\(\)$"),
    "meta": (torch.ones(30, 2, device="meta"), TypeError, 'on the device "meta"'),
    "ragged": ([[1.0, 2.0], [3.0]], ValueError, "got a table of lists that differ in length"),
    "unequal items": (
        Items([*ROWS, torch.ones(3)]),
        ValueError,
        r"item 10 .* shape \(3,\), expected \(2,\), as",
    ),
    "dicts": (Items([{"x": row} for row in ROWS]), TypeError, "item 0 of the Dataset is a dict, expected the numbers"),
    "words": (Items(["a", "b"]), TypeError, "item 0 of the Dataset is a str"),
    "nothing": (Items([ROWS[0], None]), TypeError, "item 1 of the Dataset is a NoneType"),
    "unequal in a batch": (DataLoader(Items([*ROWS, torch.ones(3)]), 4), ValueError, "rows of the DataLoader differ"),
    "unequal batches": (
        DataLoader(Items([*ROWS, torch.ones(3)]), 10),
        ValueError,
        "row 10 .* 3 numbers, expected 2",
    ),
}


@pytest.mark.parametrize(("x", "error", "words"), TABLES.values(), ids=TABLES.keys())
def test_tables(x, error, words, as_users_run_it):
    with pytest.raises(error, match=words):
        fit(MODEL, x, EM())
    if not isinstance(x, Dataset | DataLoader):
        with pytest.raises(error, match=words):
            FITTED.model.bound(x)


def test_items_that_differ_between_two_readings():
    rows = Rows(Items([*ROWS, torch.ones(3), torch.ones(3)]))
    with pytest.raises(ValueError, match="item 10 of the Dataset has 3 numbers, expected 2, as the others"):
        list(rows.chunks(10))


def test_the_order_of_bytes_does_not_matter():
    """Of weights, labels and tables in any form: those of another machine are read as on it."""
    weights, labels = np.arange(1.0, 31.0), np.where(np.arange(30) == 0, 0, -1)
    expected = fit(PoissonMixture(2, 2), X, EM(), weights=weights, labels=labels, max_passes=3).bounds
    for x in (X.astype(">f8"), pd.DataFrame(X.astype(">f4")), X.astype(">i2")):
        swapped = fit(
            PoissonMixture(2, 2), x, EM(), weights=weights.astype(">f4"), labels=labels.astype(">i8"), max_passes=3
        )
        torch.testing.assert_close(swapped.bounds, expected, rtol=1e-12, atol=0)


ONES = torch.ones(30)
WEIGHTS = {
    "ragged": ([[1.0]] * 29 + [[1.0, 2.0]], ValueError, "got weights of lists that differ in length"),
    "sparse": (ONES.to_sparse(), TypeError, "got weights in a tensor that is sparse"),
    "meta": (ONES.to("meta"), TypeError, 'got weights in a tensor that is on the device "meta"'),
    "complex": (ONES * 1j, TypeError, "got weights of type torch.complex64, expected numbers"),
    "one is everything": (
        np.where(np.arange(30) == 3, 1e140, 1.0),
        ValueError,
        r"weight 3 is 1e\+140, beside which",
    ),
}


@pytest.mark.parametrize(("weights", "error", "words"), WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("model", [MODEL, GaussianMixture(1, 2)], ids=["counts", "normal"])
def test_weights(model, weights, error, words, as_users_run_it):
    with pytest.raises(error, match=words):
        fit(model, X, EM(), weights=weights)


def test_one_row_of_weight_and_large_ratios_are_fine():
    alone = fit(MODEL, X, EM(), weights=np.where(np.arange(30) == 3, 1e140, 0.0)).model
    np.testing.assert_allclose(alone.family.rate.detach()[0], X[3].clip(1e-300))
    fit(MODEL, X, EM(), weights=np.where(np.arange(30) == 3, 1e10, 1.0))


@pytest.mark.parametrize("large", [2**64 - 1, 2**63])
def test_labels_that_int64_does_not_hold(large, as_users_run_it):
    labels = np.zeros(30, np.uint64)
    assert fit(MODEL, X, EM(), labels=labels).converged
    labels[5] = large
    for given in (labels, torch.as_tensor(labels)):
        with pytest.raises(ValueError, match=f"label 5 is {large}, expected 0, 1, "):
            fit(MODEL, X, EM(), labels=given)


def test_names_of_parameters():
    names = r"there is no parameter 'nothing', expected one of 'weights', 'family.rate'"
    found, errors = bootstrap(FITTED, X, repeats=2), standard_errors(FITTED, X)
    for call in (lambda: found.interval("nothing"), lambda: found["nothing"], lambda: errors["nothing"]):
        with pytest.raises(ValueError, match=names):
            call()

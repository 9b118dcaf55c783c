"""What columns are taken for: ids by their names, measurements beside a frequent value, words, and what users say."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from lowerbound.data import ColumnKinds, Rows
from lowerbound.data.column_values import MOST_VALUES, ColumnValues
from lowerbound.inference import EM, fit
from lowerbound.models import column_kinds, mixed

RNG = np.random.default_rng(0)


def kind_of(values, name="x"):
    """The kind of one column, and the reason."""
    x = pd.DataFrame({name: values, "other": RNG.normal(size=len(values))})
    found = column_kinds(x, 1)[0]
    return found.kind, found.reason


CLUSTERS = np.r_[100:130, 200:230]  # a sorted measurement of two clusters
GAPS = np.delete(np.arange(1, 121), RNG.permutation(np.arange(1, 119))[:20])
SHUFFLED = RNG.permutation(10**6)[:120]
NUMBERS = {
    "sorted measurements": ("grams", CLUSTERS, {"gaussian", "negative-binomial"}),
    "sorted and dense": ("grams", np.sort(RNG.permutation(200)[:120]), {"gaussian", "negative-binomial"}),
    "sorted, with a name": ("grams_id", CLUSTERS, {"drop"}),
    "row numbers, some of them lost": ("x", GAPS, {"drop"}),
    "few persons": ("id", np.repeat(np.arange(12), 10), {"drop"}),
    "two persons": ("patient_id", np.repeat([1, 2], 30), {"drop"}),
    "an indicator with such a name": ("case", np.repeat([0, 1], 30), {"bernoulli"}),
    "numbers of customers": ("kundennummer", SHUFFLED, {"drop"}),
    "the same in French": ("num_client", SHUFFLED, {"drop"}),
    "an order": ("Order Number", SHUFFLED, {"drop"}),
    "postal codes": ("zip", RNG.choice(SHUFFLED[:60], 120), {"drop"}),
    "few postal codes": ("PLZ", RNG.choice([10115, 20095, 80331], 120), {"categorical"}),
    "a name that only ends in id": ("humid", RNG.poisson(30, 120), {"poisson", "gaussian"}),
    "truth values": ("x", RNG.random(120) < 0.5, {"categorical"}),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers(case):
    name, values, right = NUMBERS[case]
    assert kind_of(values, name)[0] in right


WORDS = {
    "names, few of them": ("x", [f"name {i}" for i in range(20)], "drop"),
    "words that repeat": ("x", [f"sort {i}" for i in range(10)] * 2, "categorical"),
    "a short table": ("x", ["a", "b", "c"], "categorical"),
    "persons, several rows each": ("personId", ["p1", "p2", "p3"] * 10, "drop"),
}


@pytest.mark.parametrize("case", WORDS)
def test_words(case):
    name, values, right = WORDS[case]
    assert kind_of(values, name)[0] == right


def test_guesses_are_said():
    """`mixed` prints nothing: a column dropped for its order, or that may be an id, is a warning."""
    x = pd.DataFrame({"y": RNG.normal(size=100), "kept": GAPS})
    with pytest.warns(UserWarning, match=r"column 'kept' is left out: row numbers with gaps.*kinds=\{'kept': \.\.\.\}"):
        model = mixed(x)
    assert model.schema.columns == ("y",)
    x["kept"] = SHUFFLED[:100]
    with pytest.warns(UserWarning, match="column 'kept' is taken for .*all differ and are spread evenly, as ids are"):
        mixed(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed(x, kinds={"kept": "drop"})
        mixed(x, kinds=column_kinds(x))
        x["kept"] = RNG.normal(5e5, 1e5, 100).round()  # measurements cluster, ids do not
        mixed(x)


def test_the_floor_beside_a_frequent_value_has_no_use_for_outliers():
    z = np.repeat([0, 1, 2, 3], [30, 135, 134, 1])
    x = np.array([0, 5, 10, 1e4])[z] + np.array([0, 0.5, 0.5, 0])[z] * RNG.normal(size=300)
    kind, without = column_kinds(x[:, None])[0], column_kinds(x[:-1, None])[0]
    assert kind.least_scale == pytest.approx(without.least_scale, rel=0.3) and 0 < kind.least_scale < 1.2
    assert "10% of them 0: alone, with an s.d. of at least" in kind.reason
    asked = column_kinds(x[:, None], kinds={"column 0": "gaussian"})[0]
    assert asked.least_scale == 0 and asked.reason == "as asked for"
    assert mixed(pd.DataFrame({"x": x, "y": RNG.normal(size=300)}), kinds={"x": "gaussian"}).family.features == 2


def test_the_clusters_beside_an_outlier():
    z = np.repeat([0, 1, 2, 3], [30, 135, 134, 1])
    x = (np.array([0, 5, 10, 1e4])[z] + np.array([0, 0.5, 0.5, 0])[z] * RNG.normal(size=300))[:, None]
    fitted = fit(mixed(x, 4), x, EM(), restarts=5)
    assert adjusted_rand_score(z, fitted.model.predict(x)) > 0.95


def test_all_rows_decide_beyond_the_values_that_are_counted():
    """Running mean, variance and step, by NumPy's on the whole column; in chunks as in one."""
    n = 4 * MOST_VALUES
    x = np.stack([np.arange(n) * 7 + 3, np.r_[np.zeros(n // 2), RNG.normal(1e6, 1e3, n // 2).round()]], 1)
    found = [sum_of_chunks(column, n // 10) for column in x.T] + Rows(x).column_values
    for own, column in zip(found, [*x.T, *x.T], strict=True):
        assert own.mean == pytest.approx(column.mean(), rel=1e-12)
        assert own.variance == pytest.approx(column.var(), rel=1e-10)
        assert own.step == np.gcd.reduce((column - column.min()).astype(int)) and own.count == n
    assert not found[0].is_complete and found[0].increases and not found[1].increases
    assert (found[0].least_step, found[0].largest_step) == (7, 7)


def sum_of_chunks(x, size):
    found = ColumnValues()
    for start in range(0, len(x), size):
        found = found + ColumnValues.of(x[start : start + size], found.is_complete)
    return found


def test_what_users_say():
    x = pd.DataFrame({"x": [1, 2, 3] * 4, "y": RNG.normal(size=12), "w": ["a", "b", "c"] * 4})
    assert column_kinds(x, kinds={"x": [3.0, 2.0, 1.0, 0.5]})[0].levels == ("3", "2", "1", "0.5")
    assert column_kinds(x, kinds={"x": np.arange(1, 5)})[0].levels == ("1", "2", "3", "4")
    some = column_kinds(x)[:2]
    assert type(some) is ColumnKinds and [each.name for each in some] == ["x", "y"]
    assert mixed(x, kinds=some).schema.columns == ("x", "y")
    assert mixed(x[["x", "y"]].to_numpy(), kinds=column_kinds(x[["y"]].to_numpy())).schema.columns == ("column 0",)
    for kinds, error, words in (
        ({"x": 3}, TypeError, "the kind of column 'x' is 3, expected one of gaussian"),
        ({"x": None}, TypeError, "the kind of column 'x' is None, expected one of gaussian"),
        ({"x": some[0]}, TypeError, "the kind of column 'x' is ColumnKind"),
        (["x"], TypeError, "kinds is a list, expected a dict of columns and what they hold"),
        ({"x": [1, 2]}, ValueError, "column 'x' holds '3', expected one of its levels 1, 2"),
        ({"x": ["1", "two", "3"]}, ValueError, "column 'x' holds numbers, expected numbers as its levels"),
        ({"x": [1, 2, 3, 3.0]}, ValueError, "the levels of column 'x' are 1, 2, 3, 3, expected each level once"),
        ({"w": ["a", "b"]}, ValueError, "column 'w' holds 'c', expected one of its levels a, b"),
        (column_kinds(x.assign(z=x.y)), ValueError, "kinds has a column 'z', expected some of x, y, w"),
    ):
        with pytest.raises(error, match=words):
            mixed(x, kinds=kinds)

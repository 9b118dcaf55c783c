import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from lowerbound import datasets


def test_names_lists_every_table():
    assert datasets.names() == ("faithful", "galaxies", "iris")


def test_faithful_is_the_table_of_r():
    table = datasets.load("faithful")
    assert table.shape == (272, 2)
    assert list(table.columns) == ["eruptions", "waiting"]
    assert table.iloc[0].tolist() == [3.6, 79]
    assert table.iloc[-1].tolist() == [4.467, 74]
    assert table["eruptions"].sum() == pytest.approx(948.677, abs=1e-9)
    assert table["waiting"].sum() == 19284
    assert table["eruptions"].agg(["min", "max"]).tolist() == [1.6, 5.1]  # summary(faithful)
    assert table["waiting"].agg(["min", "max"]).tolist() == [43, 96]


def test_galaxies_is_the_table_of_mass():
    table = datasets.load("galaxies")
    assert table.shape == (82, 1)
    assert list(table.columns) == ["velocity"]
    velocity = table["velocity"]
    assert velocity.is_monotonic_increasing
    assert velocity.iloc[[0, 40, 77, 81]].tolist() == [9172, 20821, 26690, 34279]
    assert velocity.sum() == 1707910


def test_iris_is_the_table_of_scikit_learn():
    table = datasets.load("iris")
    assert list(table.columns) == ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    np.testing.assert_array_equal(table.to_numpy(), load_iris().data)
    np.testing.assert_allclose(table.mean(), [5.8433333, 3.0573333, 3.758, 1.1993333], atol=1e-7)  # R's iris


@pytest.mark.parametrize("name", datasets.names())
def test_tables_are_finite_numbers_and_fresh(name):
    table = datasets.load(name)
    assert isinstance(table, pd.DataFrame)
    assert np.isfinite(table.to_numpy()).all()
    table.iloc[:] = 0
    assert (datasets.load(name).to_numpy() > 0).all()


@pytest.mark.parametrize("name", datasets.names())
def test_provenance_is_stated(name):
    assert f"## {name}\n" in (datasets._HERE / "README.md").read_text(encoding="utf-8")


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(ValueError, match="'titanic'; the names are faithful, galaxies, iris"):
        datasets.load("titanic")

import numpy as np
import pandas as pd
import pytest
from scipy.stats import poisson
from sklearn.datasets import load_digits, load_iris

from lowerbound import datasets


def test_names_lists_every_table():
    numeric = ("binary_digits", "carcinoma", "deaths", "digits", "faithful", "galaxies", "grey_digits", "iris")
    assert datasets.names() == (*numeric, "titanic")


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


def test_digits_are_the_images_of_scikit_learn():
    table = datasets.load("digits")
    assert table.shape == (1797, 64)
    images = load_digits().images
    np.testing.assert_array_equal(table.to_numpy(), images.reshape(1797, 64))
    np.testing.assert_array_equal(table["pixel_2_5"], images[:, 2, 5])
    assert (table.columns[0], table.columns[63]) == ("pixel_0_0", "pixel_7_7")


def test_grey_digits_are_shares_of_the_largest_intensity():
    grey = datasets.load("grey_digits")
    np.testing.assert_array_equal(grey * 16, datasets.load("digits"))
    assert grey.to_numpy().min() == 0 and grey.to_numpy().max() == 1


def test_binary_digits_are_the_pixels_of_at_least_half_the_intensity():
    table = datasets.load("binary_digits")
    images = load_digits().images
    np.testing.assert_array_equal(table["pixel_2_5"], np.where(images[:, 2, 5] >= 8, 1, 0))
    assert list(table.columns) == list(datasets.load("digits").columns)
    p = (images >= 8).mean(0).ravel()
    p = p[(p > 0) & (p < 1)]  # the others add nothing
    bound = np.sum(p * np.log(p) + (1 - p) * np.log1p(-p))  # of independent columns, nats per row
    assert bound == pytest.approx(-25.1089, abs=5e-5)
    x, mean = table.to_numpy(), table.mean().clip(1e-12, 1 - 1e-12).to_numpy()
    assert np.mean(np.log(np.where(x == 1, mean, 1 - mean)).sum(1)) == pytest.approx(bound, abs=1e-9)


def test_deaths_are_the_counts_of_hasselblad():
    deaths = datasets.load("deaths")["deaths"]
    assert len(deaths) == 365 + 365 + 366 and deaths.is_monotonic_increasing
    assert np.bincount(deaths).tolist() == [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
    density = 0.3599 * poisson.pmf(deaths, 1.2561) + 0.6401 * poisson.pmf(deaths, 2.6634)
    assert np.log(density).sum() == pytest.approx(-1989.946, abs=5e-4)  # the published maximum


def test_carcinoma_has_the_patterns_of_agresti():
    table = datasets.load("carcinoma")
    assert table.shape == (118, 7)
    assert list(table.columns) == list("ABCDEFG")
    seen = table.astype(str).agg("".join, axis=1).value_counts().to_dict()
    assert seen == {
        **{"0000000": 34, "0000100": 2, "0100000": 6, "0100001": 1, "0100100": 4, "0100101": 5, "1000000": 2},
        **{"1010101": 1, "1100000": 2, "1100001": 1, "1100100": 2, "1100101": 7, "1100111": 1, "1101001": 1},
        **{"1101101": 2, "1101111": 3, "1110101": 13, "1110111": 5, "1111101": 10, "1111111": 16},
    }


def test_titanic_is_the_table_of_r():
    table = datasets.load("titanic")
    assert table.shape == (2201, 4)
    words = {
        "class": ["1st", "2nd", "3rd", "crew"],
        "sex": ["female", "male"],
        "age": ["child", "adult"],
        "survived": ["no", "yes"],
    }
    assert {name: list(table[name].cat.categories) for name in table} == words
    assert not any(table[name].cat.ordered for name in table)
    counts = table.groupby(list(words), observed=False).size().to_numpy().reshape(4, 2, 2, 2)
    assert counts[..., 1].sum() == 711
    assert counts.sum((1, 2, 3)).tolist() == [325, 285, 706, 885]
    assert counts[..., 1].sum((1, 2)).tolist() == [203, 118, 178, 212]
    assert counts.sum((0, 2, 3)).tolist() == [470, 1731] and counts.sum((0, 1, 3)).tolist() == [109, 2092]
    women, children = counts[:, 0].sum(1), counts[:, :, 0].sum(1)
    assert women.tolist() == [[4, 141], [13, 93], [106, 90], [3, 20]]
    assert children.tolist() == [[0, 6], [0, 24], [52, 27], [0, 0]]


@pytest.mark.parametrize("name", datasets.names())
def test_tables_are_complete_and_fresh(name):
    table = datasets.load(name)
    assert isinstance(table, pd.DataFrame)
    words = table.select_dtypes("category")
    assert words.shape[1] == (table.shape[1] if name == "titanic" else 0)
    assert words.notna().all(axis=None) and np.isfinite(table.drop(columns=words.columns).to_numpy(float)).all()
    kept = table.copy()
    table.iloc[:] = table.iloc[::-1].to_numpy()
    assert not table.equals(kept)
    pd.testing.assert_frame_equal(datasets.load(name), kept)


@pytest.mark.parametrize("name", datasets.names())
def test_provenance_is_stated(name):
    assert f"## {name}\n" in (datasets._HERE / "README.md").read_text(encoding="utf-8")


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(ValueError, match=f"'mnist'; the names are {', '.join(datasets.names())}$"):
        datasets.load("mnist")

"""What a collapse says: the component, its columns by name, what is in it, and what to do."""

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest

from lowerbound.inference import EM, OnlineEM, fit
from lowerbound.models import (
    Collapse,
    Exponential,
    ExponentialMixture,
    FamilyOf,
    Gamma,
    GammaMixture,
    Gaussian,
    GaussianMixture,
    Mixture,
    Product,
    StudentTMixture,
    seed,
)

RNG = np.random.default_rng(0)
X = np.r_[RNG.normal(size=(60, 2)), RNG.normal(size=(60, 2)) + 6]


def table(**column):
    """Two clusters of 60 rows, and one more column."""
    return pd.DataFrame(X, columns=["a", "b"]).assign(**column)


HALF = np.r_[np.ones(60), RNG.uniform(1, 2, 60)]  # one value in one cluster
ZEROS, TWOS = np.r_[np.zeros(60), RNG.gamma(2.0, size=60)], np.r_[np.full(60, 2.0), RNG.gamma(2.0, size=60)]
POSITIVE = table().abs() + 0.1
SAME = r"holds about (59|60|61) rows, rows with one value, up to rounding: {} in column '{}'.*drop column '{}' unless"
CASES = {
    "full": (GaussianMixture(2, 3), table(survey_weight=HALF), SAME.format(1, *["survey_weight"] * 2)),
    "diag": (GaussianMixture(2, 3, "diag"), table(survey_weight=HALF), SAME.format(1, *["survey_weight"] * 2)),
    "student": (StudentTMixture(2, 3), table(survey_weight=HALF), SAME.format(1, *["survey_weight"] * 2)),
    "exponential": (ExponentialMixture(2, 3), POSITIVE.assign(p=ZEROS), SAME.format(0, "p", "p")),
    "gamma": (GammaMixture(2, 3), POSITIVE.assign(p=TWOS), SAME.format(2, "p", "p")),
    "product": (
        Mixture(Product(Gaussian(2, 2), Exponential(2, 1))),
        table(p=ZEROS)[["a", "b", "p"]],
        SAME.format(0, "p", "p"),
    ),
    "columns of a product": (
        Mixture(Product(Gamma(2, 1), Gaussian(2, 2), columns=[[1], [0, 2]])),
        pd.DataFrame({"z": HALF, "g": POSITIVE["a"], "a": X[:, 0]}),
        SAME.format(1, "z", "z"),
    ),
    "without names": (GaussianMixture(2, 3), np.c_[X, HALF], r"1 in column 2\)"),
    "follows": (GaussianMixture(2, 3), table(total=X.sum(1)), r"columns 'a', 'b' and 'total' follow from one another"),
    "one component": (
        GaussianMixture(1, 3),
        table(total=X.sum(1)),
        "component 0 has collapsed: it holds about 120 rows",
    ),
    "tied": (GaussianMixture(2, 3, "tied"), table(twice=2 * X[:, 1]), "all 2 components have .*'b' and 'twice' follow"),
    "equal rows": (GaussianMixture(2, 2), np.r_[X[:60], np.full((30, 2), 9.0)], "about 30 rows, equal rows.*leave out"),
    "one row": (GaussianMixture(2, 2, "spherical"), np.r_[X[:60], [[500, 500]]], "about 1 row, one row"),
    "missing": (
        GaussianMixture(2, 3),
        table(w=HALF).where(RNG.random((120, 3)) > 0.05, np.nan).assign(w=HALF),
        "1 in column 'w'",
    ),
}


@pytest.mark.parametrize(("model", "x", "words"), CASES.values(), ids=CASES.keys())
def test_the_columns_are_named(model, x, words):
    with pytest.raises(Collapse, match=words) as raised:
        fit(model, x, EM(), restarts=2)
    assert "covariance is all but singular" not in str(raised.value) and 'prior="weak"' in str(raised.value)


def test_any_distribution_and_online_em():
    """By the mean and variance of a distribution of Pyro; and by an engine that is not EM."""
    model = seed(Mixture(FamilyOf(dist.Normal, 2, 3)), table(survey_weight=HALF))
    loc, scale = model.family.loc.detach().clone(), model.family.scale.detach().clone()
    loc[1, 2], scale[1, 2] = 1000.0, 1e-7
    model.family.loc, model.family.scale = loc, scale
    with pytest.raises(Collapse, match=r"component 1 .* 1000 in column 'survey_weight'"):
        model.check()
    with pytest.raises(Collapse, match="1 in column 'survey_weight'"):
        fit(GaussianMixture(2, 3), table(survey_weight=HALF), OnlineEM())

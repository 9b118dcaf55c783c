"""One value so far from the others that arithmetic does not tell the other rows apart: the error names it."""

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest

from lowerbound.data import Rows
from lowerbound.inference import EM, fit
from lowerbound.models import (
    PPCA,
    Collapse,
    Exponential,
    FamilyOf,
    GaussianMixture,
    KMeans,
    Mixture,
    StudentTMixture,
    seed,
)
from lowerbound.models.far_values import describe_far_value

RNG = np.random.default_rng(0)
X = np.r_[RNG.normal(size=(60, 2)), RNG.normal(size=(60, 2)) + 6]
MODELS = {
    "student": (StudentTMixture(2, 2), 1e20),
    "cauchy": (Mixture(FamilyOf(dist.Cauchy, 2, 2)), 1e20),
    "gaussian": (GaussianMixture(2, 2), 1e20),
    "ppca": (PPCA(2, 1), 1e20),
}


def far(x, value):
    return np.r_[x, [[value, -value]]]


@pytest.mark.parametrize("value", [1e8, 1e17, 1e20])
def test_kmeans_gives_it_a_centre_and_the_others_their_mean(value):
    loc = fit(KMeans(2, 2), far(X, value), EM()).model.loc.detach().numpy()
    np.testing.assert_allclose(loc[loc[:, 0].argsort()], [X.mean(0), [value, -value]], rtol=1e-12)


@pytest.mark.parametrize(("model", "value"), MODELS.values(), ids=MODELS)
def test_the_value_is_named(model, value):
    held = f"{value:g}".replace("+", r"\+")
    words = rf"row 120, column [01] holds -?{held}, \de\+1\d times as far from the median as nine rows in ten"
    with pytest.raises((ArithmeticError, ValueError), match=words) as raised:
        fit(model, far(X, value), EM())
    assert "correct it, or leave the row out" in str(raised.value)
    assert not any(false in str(raised.value) for false in ("equal", "distinct", "repeated", "maximize"))
    assert fit(model, X, EM(), max_passes=2).bounds.isfinite().all()


def test_by_name_in_a_frame_and_by_seed():
    frame = pd.DataFrame(far(X, 1e20), columns=["a", "b"])
    with pytest.raises(ValueError, match=r"row 120, column 0 \('a'\) holds 1e\+20"):
        seed(StudentTMixture(2, 2), frame)
    with pytest.raises(Collapse, match=r"row 120, column [01] holds 1e\+150") as raised:
        fit(Mixture(Exponential(2, 2)), np.abs(far(X, 1e150)), EM())
    assert raised.value.cure == "correct it, or leave the row out"


def test_what_is_not_far():
    """Long tails, most values equal, missing values; and a collapse in such a table keeps its own words."""
    for x in (np.exp(8 * RNG.normal(size=(200, 1))), np.r_[np.zeros((95, 1)), np.full((5, 1), 1e30)], X[:2]):
        assert describe_far_value(Rows(x)) is None
    x = far(X, 1e15)
    x[3, 0] = np.nan
    assert describe_far_value(Rows(x, missing=True)).startswith("row 120, column ")
    with pytest.raises(Collapse, match="one value, up to rounding"):
        fit(GaussianMixture(2, 2), np.c_[X[:, 0], np.repeat([1.0, 2.0], 60)], EM())


def test_a_robust_collapse_does_not_speak_of_equal_rows():
    model = seed(StudentTMixture(2, 2), X)
    tril = model.family.scale_tril.detach().clone()
    tril[1] *= 1e-12
    model.family.scale_tril = tril
    with pytest.raises(Collapse, match="shares of rows around one point, which is one row or several equal ones"):
        model.check()

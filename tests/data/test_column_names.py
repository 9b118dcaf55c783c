"""Messages about a column have its number in the table, and its name if it has one."""

import numpy as np
import pandas as pd
import pytest

from lowerbound.inference import EM, SVI, fit
from lowerbound.models import (
    Exponential,
    ExponentialMixture,
    GammaMixture,
    Gaussian,
    GaussianMixture,
    Mixture,
    Product,
    linear_vae,
)

pytestmark = pytest.mark.usefixtures("as_users_run_it")

WITHOUT_VARIANCE = pd.DataFrame({"age": [1.0, 2.0, 3.0, 5.0], "year": 7.0, "zero": 0.0})


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (GaussianMixture(1, 3), r"column 1 \('year'\) has the same value"),
        (GammaMixture(1, 1), r"column 0 \('year'\) has the same value"),
        (ExponentialMixture(1, 3), r"column 2 \('zero'\) is 0 in every row"),
        (Mixture(Product(Exponential(1, 1), Gaussian(1, 2))), r"column 1 \('year'\) has the same value"),
    ],
    ids=["gaussian", "gamma", "exponential", "product"],
)
def test_messages_have_the_name_of_the_column(model, words):
    """Also in a group of a Product, whose columns keep their numbers in the table."""
    x = WITHOUT_VARIANCE[["year"]] if model.family.features == 1 else WITHOUT_VARIANCE
    with pytest.raises(ValueError, match=words):
        fit(model, x, EM(), max_passes=3)


def test_a_vae_names_the_column_it_cannot_resolve():
    x = pd.DataFrame({"a": np.arange(4.0), "far": 1e9 + np.arange(4.0)})
    with pytest.raises(ValueError, match=r"column 1 \('far'\) has mean 1e\+09"):
        fit(linear_vae(2, 1), x, SVI(), max_passes=2)

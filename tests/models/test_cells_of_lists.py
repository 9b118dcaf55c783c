"""A column whose cells are lists, sets, dicts or arrays: one sentence, by each door."""

import numpy as np
import pandas as pd
import pytest

from lowerbound.inference import EM, fit
from lowerbound.models import CategoricalMixture, GaussianMixture, column_kinds, mixed

pytestmark = pytest.mark.usefixtures("as_users_run_it")
CELLS = {"list": [1, 2], "dict": {"a": 1}, "set": {1}, "ndarray": np.ones(2)}


@pytest.mark.parametrize("kind", CELLS)
def test_one_sentence(kind):
    x = pd.DataFrame({"a": np.arange(40.0) % 7, "b": [*["word"] * 20, *[CELLS[kind]] * 20]})
    words = f"column 'b' holds a {kind} in a cell, expected a number or a word in each"
    for make in (lambda: mixed(x, 2), lambda: column_kinds(x)):
        with pytest.raises(TypeError, match=words):
            make()
    for model in (GaussianMixture(2, 2), CategoricalMixture(2, [7, 2])):
        with pytest.raises(TypeError, match="column 'b' holds object values, expected real numbers"):
            fit(model, x, EM())

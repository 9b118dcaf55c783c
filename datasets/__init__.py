"""Small real tables for examples, tutorials and tests; README.md beside this file says where each is from."""

from importlib.resources import files

import pandas as pd

__all__ = ["load", "names"]

_HERE = files(__name__)


def names() -> tuple[str, ...]:
    """The names that `load` knows, sorted: every CSV file of this folder, and iris."""
    shipped = [file.name.removesuffix(".csv") for file in _HERE.iterdir() if file.name.endswith(".csv")]
    return tuple(sorted([*shipped, "iris"]))


def load(name: str) -> pd.DataFrame:
    """A fresh table of numbers, one row per observation, by its name."""
    if name not in names():
        raise ValueError(f"no dataset is named {name!r}; the names are {', '.join(names())}")
    if name == "iris":
        return _iris()
    with _HERE.joinpath(f"{name}.csv").open() as file:
        return pd.read_csv(file)


def _iris() -> pd.DataFrame:
    """The four measurements of iris in centimetres, species left out: it is what a mixture has to find."""
    from sklearn.datasets import load_iris  # here: a slow import that only iris needs

    table = pd.DataFrame(load_iris(return_X_y=True)[0])
    table.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    return table

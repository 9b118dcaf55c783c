"""Small real tables for examples, tutorials and tests; README.md beside this file says where each is from."""

from importlib.resources import files

import pandas as pd

__all__ = ["load", "names"]

_HERE = files(__name__)
_WORDS = {
    "titanic": {
        "class": ["1st", "2nd", "3rd", "crew"],
        "sex": ["female", "male"],
        "age": ["child", "adult"],
        "survived": ["no", "yes"],
    }
}


def names() -> tuple[str, ...]:
    """The names that `load` knows, sorted: every CSV file of this folder, and the tables of scikit-learn."""
    shipped = [file.name.removesuffix(".csv") for file in _HERE.iterdir() if file.name.endswith(".csv")]
    return tuple(sorted([*shipped, *_SCIKIT_LEARN]))


def load(name: str) -> pd.DataFrame:
    """A fresh table, one row per observation, by its name: numbers, or in titanic words as pandas categories."""
    if name not in names():
        raise ValueError(f"no dataset is named {name!r}; the names are {', '.join(names())}")
    if name in _SCIKIT_LEARN:
        return _SCIKIT_LEARN[name]()
    kinds = {column: pd.CategoricalDtype(words) for column, words in _WORDS.get(name, {}).items()}
    with _HERE.joinpath(f"{name}.csv").open() as file:
        return pd.read_csv(file).astype(kinds)


def _iris() -> pd.DataFrame:
    """The four measurements of iris in centimetres, species left out: it is what a mixture has to find."""
    from sklearn.datasets import load_iris  # here, as below: a slow import that only these tables need

    table = pd.DataFrame(load_iris(return_X_y=True)[0])
    table.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    return table


def _digits() -> pd.DataFrame:
    """The 64 pixels of handwritten digits, 0 to 16, row by row; which digit it is is left out, as with iris."""
    from sklearn.datasets import load_digits

    table = pd.DataFrame(load_digits(return_X_y=True)[0])
    table.columns = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    return table


def _binary_digits() -> pd.DataFrame:
    """The digits in black and white: 1 where a pixel is 8 or more, else 0."""
    return (_digits() >= 8).astype(float)


def _grey_digits() -> pd.DataFrame:
    """The digits as shares of black, from 0 to 1: pixels divided by 16."""
    return _digits() / 16


_SCIKIT_LEARN = {"binary_digits": _binary_digits, "digits": _digits, "grey_digits": _grey_digits, "iris": _iris}

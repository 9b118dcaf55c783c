"""Small real tables for examples, tutorials and tests.

`load(name)` gives one as a DataFrame, `names()` lists them. README.md in this folder says where each comes from. A new
table is a CSV file in this folder; one with columns of words also needs their order in `_WORDS`. This folder imports
libraries only.
"""

from importlib.resources import files

import pandas as pd

__all__ = ["names"]  # not load: `import *` of this folder and of lowerbound.inference would give one name to two

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
    """The names that `load` takes, sorted: the CSV files of this folder, and some tables of scikit-learn.

    Returns:
        The names.

    Example:
        >>> from lowerbound import datasets
        >>> datasets.names()[:3]
        ('binary_digits', 'carcinoma', 'deaths')
    """
    shipped = [file.name.removesuffix(".csv") for file in _HERE.iterdir() if file.name.endswith(".csv")]
    return tuple(sorted([*shipped, *_SCIKIT_LEARN]))


def load(name: str) -> pd.DataFrame:
    """A table by its name, one row per observation.

    Args:
        name: one of `names()`.

    Returns:
        A new DataFrame of numbers; in titanic, of pandas categories.

    Raises:
        ValueError: no data set has this name.

    Example:
        >>> from lowerbound import datasets
        >>> datasets.load("faithful").mean().round(2).to_dict()
        {'eruptions': 3.49, 'waiting': 70.9}
    """
    if name not in names():
        raise ValueError(f"no dataset is named {name!r}; the names are {', '.join(names())}")
    if name in _SCIKIT_LEARN:
        return _SCIKIT_LEARN[name]()
    kinds = {column: pd.CategoricalDtype(words) for column, words in _WORDS.get(name, {}).items()}
    with _HERE.joinpath(f"{name}.csv").open() as file:
        return pd.read_csv(file).astype(kinds)


def _iris() -> pd.DataFrame:
    """Four measurements of iris flowers in centimetres, without the species, which a mixture has to find."""
    from sklearn.datasets import load_iris  # imported late, here and below: slow, and only these tables need it

    table = pd.DataFrame(load_iris(return_X_y=True)[0])
    table.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    return table


def _digits() -> pd.DataFrame:
    """The 64 pixels of handwritten digits, 0 to 16, row by row, without the digits that they show."""
    from sklearn.datasets import load_digits

    table = pd.DataFrame(load_digits(return_X_y=True)[0])
    table.columns = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    return table


def _binary_digits() -> pd.DataFrame:
    """The digits in black and white: 1 where a pixel is 8 or more, else 0."""
    return (_digits() >= 8).astype(float)


def _grey_digits() -> pd.DataFrame:
    """The digits in grey, from 0 to 1: pixels divided by 16."""
    return _digits() / 16


_SCIKIT_LEARN = {"binary_digits": _binary_digits, "digits": _digits, "grey_digits": _grey_digits, "iris": _iris}

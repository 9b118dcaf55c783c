"""Intake: what a user hands us becomes finite numbers of the right shape, or one sentence says why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

COMPLEX = "got complex numbers, expected real ones: pass their real and imaginary parts as columns"


def as_tensor(
    x: Any,
    features: int | None = None,
    dtype: torch.dtype = torch.float64,
    numbers: Any = None,
    finite: bool = True,
    missing: bool = False,
    columns: Sequence[str] | None = None,
) -> Tensor:
    """A (n, d) tensor of finite numbers from a tensor, numpy array or DataFrame (finite=False: not looked at again;
    missing=True: NaN stands for a missing cell).

    Of a DataFrame's category columns these are the codes 0 .. levels - 1, in the order of `.cat.categories`.
    Raises TypeError for what is not a table of real numbers and ValueError for a wrong shape, a wrong number of
    columns, and NaN or infinity (naming row and column: by `numbers`, or else from 0, and by `columns`).
    """
    if isinstance(x, pd.DataFrame):
        columns = [str(name) for name in x.columns]
        words = [
            name for name, kind in zip(columns, x.dtypes, strict=True) if not (_is_real(kind) or is_category(kind))
        ]
        if words:
            raise TypeError(
                f"column {words[0]!r} holds {x.dtypes.iloc[columns.index(words[0])]} values, expected real numbers: "
                'drop the column or encode it as numbers; categories are encoded by .astype("category")'
            )
        x = _coded(x).to_numpy(dtype=np.float64, na_value=np.nan)
    if isinstance(x, np.ma.MaskedArray):
        x = np.ma.filled(x.astype(np.float64), np.nan)
    if isinstance(x, Tensor):
        tensor = x.detach()
    else:
        array = np.asarray(x)
        if array.dtype.kind == "c":
            raise TypeError(COMPLEX)
        if array.dtype.kind not in "fiub":
            what, cure = f"an array of {array.dtype}", "convert it with .astype(float)"
            if array.ndim == 0:  # of something that numpy takes for one object
                what, cure = f"a {type(x).__name__}", "pass a tensor, an array or a DataFrame of them"
            raise TypeError(f"got {what}, expected real numbers: {cure}")
        array = _short(array)
        if not array.dtype.isnative or any(stride < 0 for stride in array.strides) or not array.flags.writeable:
            array = np.array(array, dtype=array.dtype.newbyteorder("="))
        tensor = torch.as_tensor(array)
    if tensor.is_complex():
        raise TypeError(COMPLEX)
    if tensor.ndim != 2 and tensor.numel():
        one, row = "x.reshape(-1, 1)", "x.reshape(1, -1)"
        if isinstance(x, pd.Series):
            one, row = "x.to_frame()", "x.to_frame().T"
        raise ValueError(
            f"got an array of shape {tuple(tensor.shape)}, expected (rows, columns)"
            + (f": use {one} for a single column, or {row} for a single row" if tensor.ndim == 1 else "")
        )
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise ValueError(f"got an empty table of shape {tuple(tensor.shape)}, expected at least one row and one column")
    if features is not None and tensor.shape[1] != features:
        raise ValueError(
            f"got {tensor.shape[1]} columns, expected {features}: the model was made for {features} features"
        )
    tensor = tensor.to(dtype)
    # one fast reduction; where it is not finite (a bad cell, or finite cells whose sum overflows) look for the cell
    if finite and not torch.isfinite(tensor.sum()) and (bad := tensor.isinf() if missing else ~tensor.isfinite()).any():
        row, column = (int(i) for i in bad.nonzero()[0])
        name = f"{column} ({columns[column]!r})" if columns is not None else f"{column}"
        number, none = row if numbers is None else int(numbers[row]), bool(tensor[row, column].isnan())
        raise ValueError(
            f"row {number}, column {name} holds {'NaN' if none else 'an infinite value'}, expected finite numbers: "
            f"drop or fill such cells{', or take a model for missing ones, such as a mixture of Gaussians' * none}"
        )
    return tensor


def as_weights(weights: Any, n: int, some: bool = True) -> Float[Tensor, " n"] | None:
    """Row weights as float64 (n,), or None for ones. Raises ValueError if negative, not finite or (unless
    some=False, for part of a table) all zero."""
    if weights is None:
        return None
    tensor = _one_column(weights, "weights", "numbers").to(torch.float64)
    if tensor.shape != (n,):
        raise ValueError(f"got weights of shape {tuple(tensor.shape)}, expected one weight for each of {n} rows")
    bad = ~torch.isfinite(tensor) | (tensor < 0)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(f"weight {row} is {float(tensor[row])}, expected weights that are finite and not negative")
    if some and not (tensor > 0).any():
        raise ValueError("all weights are zero, expected at least one positive weight")
    return tensor


def as_labels(labels: Any, n: int) -> Int[Tensor, " n"] | None:
    """Known components as int64 (n,), -1 where unknown, or None if none is known."""
    if labels is None:
        return None
    tensor = _one_column(labels, "labels", "integers")
    if tensor.shape != (n,) or tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(
            f"got labels of shape {tuple(tensor.shape)} and type {tensor.dtype}, expected one integer for each of "
            f"{n} rows: 0, 1, ... for the component, -1 for unknown"
        )
    return tensor.to(torch.int64)


def _one_column(values: Any, name: str, wanted: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    array = _short(np.array(values))  # a copy: torch does not take arrays that cannot be written to
    if array.dtype.kind not in "fiub":
        raise TypeError(f"got {name} of type {array.dtype}, expected {wanted}")
    return torch.as_tensor(array)


def _short(array: np.ndarray) -> np.ndarray:
    """Without the digits that torch does not have."""
    return array.astype(np.float64) if array.dtype.kind == "f" and array.dtype.itemsize > 8 else array


def first_cell(outside: Tensor, x: Tensor, columns: Any = None, numbers: Tensor | range | None = None) -> str:
    """Of the cells (n, d) that are `outside`, the first in words: row 3, column 1 ('waiting') holds -2.

    columns: names of columns, or None; numbers: of the rows in their table, or None where they count from 0.
    """
    row, column = outside.nonzero()[0].tolist()
    name = "" if columns is None or columns[column] == f"column {column}" else f" ({str(columns[column])!r})"
    number = row if numbers is None else int(numbers[row])
    return f"row {number}, column {column}{name} holds {float(x[row, column]):g}"


def is_category(kind: Any) -> bool:
    """Whether a pandas dtype is that of categories."""
    return isinstance(kind, pd.CategoricalDtype)


def _coded(x: pd.DataFrame) -> pd.DataFrame:
    """The codes of the categories in place of their names, NaN where one is missing."""
    if not any(map(is_category, x.dtypes)):
        return x
    columns = (x.iloc[:, j] for j in range(x.shape[1]))
    coded = [c.cat.codes.astype(float).where(c.notna()) if is_category(c.dtype) else c for c in columns]
    return pd.concat(coded, axis=1)


def _is_real(kind: Any) -> bool:
    return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind)

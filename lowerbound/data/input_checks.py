"""Checks of what a user passes: rows, weights and labels become tensors, or one sentence says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .dense_tensors import regular_array, require_dense
from .traced_rows import plain_rows

DATES = ("date", "datetime", "datetime64", "time", "timedelta", "timedelta64", "period")  # as pandas infers them
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
    """A table as a tensor (n, d) of finite numbers.

    Args:
        x: (n, d) tensor, array, nested list or DataFrame. Category columns are read as codes 0 .. levels - 1, in
            the order of `.cat.categories`.
        features: The expected number of columns, or None for any.
        dtype: The dtype of the returned tensor.
        numbers: (n,) row numbers for error messages; None: from 0.
        finite: Whether to raise for values that are not finite. False where they were checked before.
        missing: Whether NaN stands for a missing value, which is then no error.
        columns: (d,) column names for error messages; None: those of the DataFrame, if x is one.

    Returns:
        (n, d) the values; where no conversion is needed, they share memory with x. Gradients flow to a tensor x where
        they are enabled.

    Raises:
        TypeError: x is not a table of real numbers.
        ValueError: The shape is wrong, or a value is NaN or infinite (the error names its row and column).
    """
    if isinstance(x, pd.DataFrame):
        columns = [str(name) for name in x.columns]
        x = _dataframe_values(x, columns)
    tensor = require_dense(x) if isinstance(x, Tensor) else torch.as_tensor(_torch_array(x))
    if not torch.is_grad_enabled():
        tensor = tensor.detach()
    elif tensor.is_inference():
        tensor = tensor.clone()  # made under torch.inference_mode(), which gradients of parameters do not take
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
            f"got {counted(tensor.shape[1], 'column')}, expected {features}: the model was made for {features} features"
        )
    tensor = tensor.to(dtype)
    # One fast sum tells whether all values are finite. If it is not finite itself (a bad value, or finite values whose
    # sum overflows), look for the value.
    values = plain_rows(tensor)
    if finite and not torch.isfinite(values.sum()) and (bad := values.isinf() if missing else ~values.isfinite()).any():
        row, column = (int(i) for i in bad.nonzero()[0])
        name = f"{column} ({columns[column]!r})" if columns is not None else f"{column}"
        number, is_nan = row if numbers is None else int(numbers[row]), bool(values[row, column].isnan())
        raise ValueError(
            f"row {number}, column {name} holds {'NaN' if is_nan else 'an infinite value'}, expected finite numbers: "
            "drop or fill such values"
            f"{', or use a model that takes missing values, such as a mixture of Gaussians' * is_nan}"
        )
    return tensor


def _dataframe_values(x: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """The numbers of a DataFrame, and the codes of its categories. Raises TypeError for other columns."""
    for name, kind in zip(columns, x.dtypes, strict=True):
        if not (_is_real(kind) or is_category(kind)):
            raise TypeError(
                f"column {name!r} holds {kind} values, expected real numbers: "
                'drop the column or encode it as numbers; models that take categories read .astype("category")'
            )
    return _coded(x).to_numpy(dtype=np.float64, na_value=np.nan)


def _torch_array(x: Any) -> np.ndarray:
    """`x` as an array of real numbers that torch can share. Raises TypeError if it is none."""
    array = (
        np.ma.filled(x.astype(np.float64), np.nan) if isinstance(x, np.ma.MaskedArray) else regular_array(x, "a table")
    )
    if array.dtype.kind == "c":
        raise TypeError(COMPLEX)
    if array.dtype.kind not in "fiub":
        got, cure = f"an array of {array.dtype}", "convert it with .astype(float)"
        if array.dtype.kind in "OUS" and array.ndim and any(isinstance(value, str) for value in array.flat):
            got, cure = "an array with words", "pass a DataFrame, which a model fitted to words matches by name"
        if array.ndim == 0:  # numpy takes what it does not know for a single object
            got, cure = f"a {type(x).__name__}", "pass a tensor, an array or a DataFrame of them"
        raise TypeError(f"got {got}, expected real numbers: {cure}")
    array = _native(array)
    if any(stride < 0 for stride in array.strides) or not array.flags.writeable:
        array = np.array(array)
    return array


def as_weights(weights: Any, n: int, some: bool = True) -> Float[Tensor, " n"] | None:
    """Row weights as float64 (n,), or None for ones.

    Raises ValueError if they are negative or not finite, or if all are zero (unless some=False, for part of a table).
    """
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
    """Known components as int64 (n,), -1 where unknown; None if no row has a label."""
    if labels is None:
        return None
    tensor = _one_column(labels, "labels", "integers")
    if tensor.dtype == torch.uint64:  # torch would wrap those that int64 does not hold
        tensor = _signed(tensor)
    if tensor.shape != (n,) or tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(
            f"got labels of shape {tuple(tensor.shape)} and type {tensor.dtype}, expected one integer for each of "
            f"{n} rows: 0, 1, ... for the component, -1 for unknown"
        )
    return tensor.to(torch.int64)


def _one_column(values: Any, name: str, wanted: str) -> Tensor:
    """Weights or labels as a tensor. Raises TypeError if they are no numbers."""
    if isinstance(values, Tensor):
        if values.is_complex():
            raise TypeError(f"got {name} of type {values.dtype}, expected {wanted}")
        return require_dense(values, f"{name} in a tensor").detach()
    array = _native(np.array(regular_array(values, name)))  # a copy, because torch takes no read-only arrays
    if array.dtype.kind not in "fiub":
        raise TypeError(f"got {name} of type {array.dtype}, expected {wanted}")
    return torch.as_tensor(array)


def _signed(labels: Tensor) -> Tensor:
    """Labels as int64. Raises ValueError for one that is too large."""
    values = labels.cpu().numpy()
    large = values > np.iinfo(np.int64).max
    if large.any():
        row = int(large.argmax())
        raise ValueError(f"label {row} is {values.flat[row]}, expected 0, 1, ... for the component or -1 for unknown")
    return torch.as_tensor(values.astype(np.int64))


def _native(array: np.ndarray) -> np.ndarray:
    """An array as torch takes it: bytes in the order of this machine, and floats of at most 64 bits."""
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def describe_first_value(outside: Tensor, x: Tensor, columns: Any = None, numbers: Tensor | range | None = None) -> str:
    """The first value that is outside the support, in words: row 3, column 1 ('waiting') holds -2.

    outside: (n, d) which values of x (n, d) are outside. columns: (d,) names, or None. numbers: (n,) the numbers of the
    rows in their table, or None: from 0.
    """
    row, column = outside.nonzero()[0].tolist()
    number = row if numbers is None else int(numbers[row])
    return f"row {number}, {describe_column(column, columns)} holds {float(x[row, column]):g}"


def counted(number: int, noun: str) -> str:
    """A number of things in words: 1 row, 2 rows."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def describe_column(column: int, columns: Any = None) -> str:
    """A column in words: column 1 ('waiting'). columns: (d,) names, or None."""
    name = f"column {column}"
    given = name if columns is None else str(columns[column])
    return name if given == name else f"{name} ({given!r})"


def is_category(kind: Any) -> bool:
    """Whether a pandas dtype is that of categories."""
    return isinstance(kind, pd.CategoricalDtype)


def holds_dates(kind: Any) -> bool:
    """Whether a pandas dtype is that of dates, times or periods."""
    return pd.api.types.is_datetime64_any_dtype(kind) or kind.kind in "mM" or isinstance(kind, pd.PeriodDtype)


def _coded(x: pd.DataFrame) -> pd.DataFrame:
    """The table with codes in place of categories, NaN where one is missing."""
    if not any(map(is_category, x.dtypes)):
        return x
    columns = (x.iloc[:, j] for j in range(x.shape[1]))
    coded = [c.cat.codes.astype(float).where(c.notna()) if is_category(c.dtype) else c for c in columns]
    return pd.concat(coded, axis=1)


def _is_real(kind: Any) -> bool:
    return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind)

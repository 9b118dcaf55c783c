"""A mixture for a table of mixed columns: the family of each column is chosen by what it holds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...data.column_kinds import COUNT, DROP, ColumnKind, ColumnKinds
from ...data.kinds_by_values import kinds_by_values
from ...data.open_table import as_table
from ...data.rows import Rows
from ...data.torch_tables import DataLoaderTable, DatasetTable
from ..families.bernoulli import Bernoulli
from ..families.categorical import Categorical
from ..families.exponential import Exponential
from ..families.family import Family
from ..families.gamma import Gamma
from ..families.gaussian import Gaussian
from ..families.negative_binomial import NegativeBinomial
from ..families.poisson import Poisson
from ..families.product import Product
from ..families.student_t import StudentT
from .kinds_of_counts import decide_counts
from .mixture import Mixture

INDEPENDENT: dict[str, Any] = {
    "bernoulli": Bernoulli,
    "exponential": Exponential,
    "gamma": Gamma,
    "negative-binomial": NegativeBinomial,
    "poisson": Poisson,
}


def mixed(
    x: Any,
    components: int = 2,
    covariance: str = "full",
    prior: Any = None,
    kinds: Mapping[str, Any] | ColumnKinds | None = None,
) -> Mixture:
    """A mixture whose families are chosen by column: p(x | z = k) = product over groups of columns of p_g(x_g | k).

    Measurements are Gaussian together, words and numbers with few levels Categorical, 0 and 1 Bernoulli, counts Poisson
    or NegativeBinomial. Row numbers, ids, dates and constant columns are left out. Measurements of which one value is
    frequent, such as 0, are independent Gaussian columns whatever the covariance, with an s.d. of a component that is
    kept from shrinking onto this value; `kinds={"rain": "gaussian"}` takes them as all others. `column_kinds` says what
    was chosen, and why; a guess that may well be wrong is a UserWarning here. Fit the mixture to the same table, which
    may hold words and missing values, and other columns besides.

    Args:
        x: (n, d) the table: a DataFrame, a NumPy array, `Rows` or the path of a file. It is read once or twice.
        components: k, the number of components.
        covariance: The structure of the covariance of the Gaussian columns, as in `GaussianMixture`.
        prior: None for maximum likelihood, or "weak", for all families.
        kinds: None to choose for all columns. {"grams": "gaussian", "id": "drop", "answer": ["no", "yes"]} says it for
            some: a family ("gaussian", "student", "gamma", "exponential", "poisson", "negative-binomial", "bernoulli",
            "categorical"), "drop", or the levels of a category. What `column_kinds` returns says it for all, so that
            mixtures of several sizes have the same families, as `select` expects.

    Returns:
        A `Mixture` of one family or a `Product`. Its `schema` names the columns that it reads.

    Raises:
        TypeError: x is a tensor or Dataset of which columns would be left out or categories be recoded: these have no
            names to remember it by. Or kinds is neither a dict of columns and their kinds nor a `ColumnKinds`.
        ValueError: kinds has an unknown column or kind, or no column is left.

    Example:
        >>> import pandas as pd
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import mixed
        >>> x = pd.DataFrame({"id": range(9), "grams": [1.1, 1.3, 1.7, 9.2, 9.9, 9.1, 1.2, 9.4, 1.5]})
        >>> x["kind"] = ["a", "a", "b", "c", "c", "c", "a", "c", "b"]
        >>> mixed(x, kinds={"kind": "categorical"}).family
        Product(Gaussian(2, 1, 'full', None), Categorical(2, [3], None), columns=[[0], [1]])
        >>> fitted = fit(mixed(x, covariance="tied"), x, EM(), restarts=3)
        >>> fitted.model.predict(x).value_counts().tolist()
        [5, 4]

    References:
        McParland and Gormley, Advances in Data Analysis and Classification 10 (2016), 155-169.
    """
    table = None if isinstance(x, Rows) else as_table(x)
    rows = x if isinstance(x, Rows) else Rows(table, missing=True)
    decided = _decided_kinds(rows, components, kinds)
    model = _mixture_of(decided.kept, components, covariance, prior)
    is_recoded = len(decided.kept) < rows.width or any(each.levels for each in decided)
    if is_recoded and (isinstance(x, Tensor) or isinstance(table, DatasetTable | DataLoaderTable)):
        raise TypeError(
            f"got a {type(x).__name__} of which columns are left out or are categories, expected a table that can say "
            "so: pass a DataFrame, or x.numpy(), here and to fit"
        )
    if is_recoded or (table if table is not None else x).schema is not None:
        model.schema = decided.schema
    return model


def _decided_kinds(rows: Rows, components: int, kinds: Any) -> ColumnKinds:
    """The kinds of the columns, as the user or the values say. Warns of guesses that may well be wrong."""
    if isinstance(kinds, ColumnKinds):
        if unknown := [each.name for each in kinds.kept if each.name not in rows.columns]:
            raise ValueError(f"kinds has a column {unknown[0]!r}, expected some of {', '.join(rows.columns)}")
        if not kinds.kept:
            raise ValueError("kinds leaves no column, expected at least one that is not left out")
        return kinds
    decided = column_kinds(rows, components, kinds)
    for each in decided:
        if each.is_guess:
            taken = "left out" if each.kind == DROP else f"taken for {each.kind}"
            warnings.warn(
                f"column {each.name!r} is {taken}: {each.reason}. If this is wrong, say what it holds by kinds="
                f"{{{each.name!r}: ...}}",
                stacklevel=3,
            )
    return decided


def column_kinds(x: Any, components: int = 2, kinds: Mapping[str, Any] | None = None) -> ColumnKinds:
    """What each column of a table is taken for by `mixed`, and why.

    The values of a column tell categories, measurements, row numbers and dates. Of whole numbers that may be counts,
    the components of a first fit tell: they are Poisson, negative binomial, Gaussian or categories, whichever has the
    least BIC within the components.

    Args:
        x: (n, d) the table, as in `mixed`.
        components: k, the number of components of the first fit.
        kinds: What is known of some columns, as in `mixed`.

    Returns:
        A `ColumnKinds`: a tuple of a `ColumnKind` for each column, which prints as a table.

    Raises:
        ValueError: kinds has an unknown column or kind, or no column is left.

    Example:
        >>> import pandas as pd
        >>> from lowerbound.models import column_kinds
        >>> x = pd.DataFrame({"year": range(2001, 2013), "sex": [1, 2] * 6, "calls": [0, 3, 1, 2, 4, 1] * 2})
        >>> print(column_kinds(x, components=1))  # doctest: +ELLIPSIS
        column  taken for    because
        year    left out     row numbers: each of 2001 to 2012 once
        sex     categorical  2 different numbers: 1, 2
        calls   poisson      counts, 0 to 4, that vary as Poisson counts do: variance / mean is 0.98 within ...
    """
    rows = x if isinstance(x, Rows) else Rows(x, missing=True)
    decided = kinds_by_values(rows, kinds)
    if all(each.kind != COUNT for each in decided):
        return decided
    readable = rows.with_schema(ColumnKinds(_as_numbers(each) for each in decided).schema)
    return decide_counts(readable, decided, components)


def _as_numbers(kind: ColumnKind) -> ColumnKind:
    """An undecided column is read as numbers."""
    return ColumnKind(kind.name, kind.kind, kind.reason) if kind.kind == COUNT else kind


def _mixture_of(kinds: Sequence[ColumnKind], components: int, covariance: str, prior: Any) -> Mixture:
    """The mixture of the families of these columns. Those of one kind stand together."""
    groups: dict[tuple[str, float], list[int]] = {}
    for j, each in enumerate(kinds):
        groups.setdefault((each.kind, each.least_scale), []).append(j)
    families: list[Family] = []
    for (kind, least_scale), group in groups.items():
        if kind == "categorical":
            families.append(Categorical(components, [len(kinds[j].levels or ()) for j in group], prior))
        elif kind == "gaussian" and least_scale:
            families.append(Gaussian(components, len(group), "diag", prior, least_scale**2))
        elif kind == "gaussian":
            families.append(Gaussian(components, len(group), covariance, prior))
        elif kind == "student":
            families.append(StudentT(components, len(group), None, covariance, prior))
        else:
            families.append(INDEPENDENT[kind](components, len(group), prior))
    if len(families) == 1:
        return Mixture(families[0])
    return Mixture(Product(*families, columns=list(groups.values())))

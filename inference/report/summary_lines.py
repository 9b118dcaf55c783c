"""One line about the rows, about their missing values, and about the restarts of a fit."""

from __future__ import annotations

from ...models import Rows
from ..criticism.comparison import Comparison
from ..criticism.selection import Selection
from ..fitting.fit_result import Fit


def data_summary(result: Comparison | Selection) -> str:
    """The size of the table that the fits of a result share: 272 rows, 2 columns: eruptions, waiting."""
    rows = result.x
    columns = ", ".join(rows.columns[:4]) + (", ..." if rows.features > 4 else "")
    weight = "" if rows.weights is None else f" of total weight {rows.total_weight:g}"
    missing = f"; {missing_summary(rows)}" if rows.gaps.cells else ""
    return f"{len(rows)} rows{weight}, {rows.features} column{'s' if rows.features > 1 else ''}: {columns}{missing}"


def missing_summary(rows: Rows) -> str:
    """How much of the table is missing: 31 values are missing in 28 rows (5.7 %)."""
    gaps = rows.gaps
    values = "1 value is" if gaps.cells == 1 else f"{gaps.cells} values are"
    share = 100 * gaps.cells / (rows.positive * rows.features)
    return f"{values} missing in {gaps.rows} row{'s' if gaps.rows > 1 else ''} ({share:.2g} %)"


def restarts_summary(fit: Fit) -> str:
    """How many restarts reached each bound, best first: 5 restarts: 4 at -4.155382, 1 at -4.200000 nats per row."""
    optima = [f"{optimum.count} at {optimum.bound:.6f}" for optimum in fit.optima if optimum.bound is not None]
    collapsed = "".join(f", {optimum.count} collapsed" for optimum in fit.optima if optimum.bound is None)
    runs = restart_count(fit)
    prior = ", prior included" if float(fit.model.global_term().detach()) else ""
    return f"{runs} restart{'s' if runs > 1 else ''}: {', '.join(optima)} nats per row{prior}{collapsed}"


def restart_count(fit: Fit) -> int:
    """The number of restarts of a fit."""
    return sum(optimum.count for optimum in fit.optima)

"""Sentences about the data and the restarts of a fit."""

from __future__ import annotations

from typing import Any

from ...models import Rows
from ..fitting.fit_result import Fit


def data_summary(comparison: Any) -> str:
    """How much data the fits are compared on."""
    rows = comparison.x
    columns = ", ".join(rows.columns[:4]) + (", ..." if rows.features > 4 else "")
    weight = "" if rows.weights is None else f" of total weight {rows.total_weight:g}"
    missing = f"; {missing_summary(rows)}" if rows.gaps.cells else ""
    return f"{len(rows)} rows{weight}, {rows.features} column{'s' if rows.features > 1 else ''}: {columns}{missing}"


def missing_summary(rows: Rows) -> str:
    """How much of the table is missing: 31 cells of 28 rows are missing (5.7 %)."""
    found = rows.gaps
    cells = "1 cell is" if found.cells == 1 else f"{found.cells} cells of {found.rows} rows are"
    return f"{cells} missing ({100 * found.cells / (rows.positive * rows.features):.2g} %)"


def restarts_summary(fit: Fit) -> str:
    """How many restarts ended at each bound, best first: "5 restarts: 4 at -4.155382, 1 at -4.2 nats per row"."""
    ends = [f"{end.count} at {end.bound:.6f}" for end in fit.optima if end.bound is not None]
    collapsed = "".join(f", {end.count} collapsed" for end in fit.optima if end.bound is None)
    runs = restart_count(fit)
    prior = ", prior included" if float(fit.model.global_term().detach()) else ""
    return f"{runs} restart{'s' if runs > 1 else ''}: {', '.join(ends)} nats per row{prior}{collapsed}"


def restart_count(fit: Fit) -> int:
    """How many starts the fit was the best of."""
    return sum(optimum.count for optimum in fit.optima)

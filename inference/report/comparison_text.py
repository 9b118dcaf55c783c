"""The comparison as a table in plain text."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ...models import Rows
from ..criticism.aligned_components import component_tables
from ..criticism.comparison import Comparison
from ..fitting.fit import SAME_OPTIMUM
from ..fitting.fit_result import Fit
from .format_components import format_components

WIDTH = 80  # columns that every terminal has; tables with more fits are split
MOST = 12  # numbers of a component that a table has here

# one line of the table each: column of Comparison.frame(), what it is called, how its numbers are written
SCORES = (
    ("log_likelihood", "log-likelihood, nats", "{:.4f}"),
    ("log_likelihood_error", "its standard error, by draws of z", "{:.2g}"),
    ("nats_per_row", "nats per row", "{:.6f}"),
    ("held_out", "held out, nats per row", "{:.4f}"),
    ("elbo", "ELBO, nats", "{:.4f}"),
    ("gap", "gap KL(q, posterior), nats", "{:.2g}"),
    ("log_prior", "log prior or -KL of theta", "{:.4f}"),
    ("bound", "bound of log evidence, nats", "{:.4f}"),
    ("log_evidence", "log evidence, nats", "{:.4f}"),
    ("pareto_k", "Pareto k of q(theta)", "{:.2f}"),
    ("sd_ratio", "s.d. of theta / sampler's", "{:.3f}"),
    ("free_parameters", "free parameters", "{:.0f}"),
    ("bic", "BIC, lower is better", "{:.2f}"),
    ("passes", "passes", "{:.0f}"),
    ("seconds", "seconds", "{:.3g}"),
    ("gradient_norm", "gradient norm", "{:.2g}"),
)
OPTIONAL = {
    "log_prior",
    "log_likelihood_error",
    "held_out",
    "bound",
    "log_evidence",
    "pareto_k",
    "sd_ratio",
}  # lines that may say nothing
UPHILL = {"passes", "gradient_norm"}  # lines that samplers have nothing in
UNRELIABLE = 0.7  # Pareto k
DISTANCES = (
    ("parameter_distance", "parameter distance", "{:.2g}"),
    ("posterior_kl", "mean posterior KL, nats", "{:.2g}"),
)
UNMATCHED = "Fits without components that can be matched, one to one, have no distance."


def text(comparison: Comparison) -> str:
    """What `print(comparison)` shows: the scores of each fit, why each stopped, and how far apart they are."""
    names = list(comparison.fits)
    parts = [heading(comparison)]
    lines, note = scores(comparison)
    for block in _blocks(lines, names):
        wanted = [0, *(1 + names.index(name) for name in block)]
        parts.append(_table(["", *block], [[line[i] for i in wanted] for line in lines]))
    parts.append(note)
    frame = comparison.frame()
    k = frame["pareto_k"].tolist() if "pareto_k" in frame else [math.nan] * len(names)
    doubtful = [name for name, value in zip(names, k, strict=True) if value > UNRELIABLE]
    if doubtful:
        parts.append(f"Pareto k above {UNRELIABLE}: the log evidence of {', '.join(doubtful)} is not to be relied on.")
    parts.append(_list("Why each stopped", {name: fit.reason for name, fit in comparison.fits.items()}))
    if any(restarts(fit) > 1 for fit in comparison.fits.values()):
        parts.append(_list("How often each optimum was found", {n: optima(f) for n, f in comparison.fits.items()}))
    between = pairs(comparison)
    if between:
        parts.append(_table(["between fits", *(title for _, title, _ in DISTANCES)], between))
    if unmatched(comparison):
        parts.append(UNMATCHED)
    return "\n\n".join(part for part in parts if part)


def components(comparison: Comparison, rest: str) -> str:
    """The components of each fit, the first numbers of each; `rest` says where the others are."""
    parts = []
    for table in component_tables(comparison):
        header, lines, left = format_components(table, WIDTH, MOST)
        widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
        for block in _runs(widths):
            wanted = [0, *block]
            parts.append(_table([header[i] for i in wanted], [[line[i] for i in wanted] for line in lines]))
        if left:
            parts.append(left_out(left, rest))
    return "\n\n".join(parts)


def left_out(count: int, rest: str) -> str:
    """What to say of numbers that a table leaves out."""
    return f"{count} more numbers of each component: {rest}."


def heading(comparison: Any) -> str:
    """How much data the fits are compared on."""
    rows = comparison.x
    columns = ", ".join(rows.columns[:4]) + (", ..." if rows.features > 4 else "")
    weight = "" if rows.weights is None else f" of total weight {rows.total_weight:g}"
    missing = f"; {gaps(rows)}" if rows.gaps.cells else ""
    return f"{len(rows)} rows{weight}, {rows.features} column{'s' if rows.features > 1 else ''}: {columns}{missing}"


def gaps(rows: Rows) -> str:
    """How much of the table is missing: 31 cells of 28 rows are missing (5.7 %)."""
    found = rows.gaps
    cells = "1 cell is" if found.cells == 1 else f"{found.cells} cells of {found.rows} rows are"
    return f"{cells} missing ({100 * found.cells / (rows.positive * rows.features):.2g} %)"


def scores(comparison: Comparison) -> tuple[list[list[str]], str]:
    """The lines of the table, [what, fit, fit, ...], and what its asterisk means ("" if there is none).

    The log prior is left out if no fit has one, as are the errors of estimates and the rows held out.
    """
    frame = comparison.frame()
    marked, best, note = _best(comparison)
    lines = []
    for column, title, form in SCORES:
        if column in OPTIONAL and (column not in frame or not frame[column].fillna(0).to_numpy().any()):
            continue
        cells = [number(value, form) for value in frame[column]]
        if column in UPHILL:
            cells = ["-" if cell == "n/a" else cell for cell in cells]
        if column == marked:
            cells = [f"* {cell}" if name in best else cell for name, cell in zip(frame.index, cells, strict=True)]
        lines.append([title, *cells])
    return lines, note


def pairs(comparison: Comparison) -> list[list[str]]:
    """["first, second", parameter distance, posterior KL] of each pair of fits whose components match."""
    columns = [column for column, _, _ in DISTANCES]
    return [
        [f"{pair['first']}, {pair['second']}", *(number(pair[column], form) for column, _, form in DISTANCES)]
        for pair in comparison.pairs().dropna(subset=columns, how="all").to_dict("records")
    ]


def unmatched(comparison: Comparison) -> bool:
    """Whether some fits that have components have none that match."""
    mixtures = [name for name, fit in comparison.fits.items() if hasattr(fit.model, "permute")]
    apart = comparison.pairs()
    ours = [pair for pair in apart.to_dict("records") if pair["first"] in mixtures and pair["second"] in mixtures]
    return any(math.isnan(pair["posterior_kl"]) for pair in ours)


def optima(fit: Fit) -> str:
    """How many restarts ended at each bound, best first: "5 restarts: 4 at -4.155382, 1 at -4.2 nats per row"."""
    ends = [f"{end.count} at {end.bound:.6f}" for end in fit.optima if end.bound is not None]
    collapsed = "".join(f", {end.count} collapsed" for end in fit.optima if end.bound is None)
    runs = restarts(fit)
    prior = ", prior included" if float(fit.model.global_term().detach()) else ""
    return f"{runs} restart{'s' if runs > 1 else ''}: {', '.join(ends)} nats per row{prior}{collapsed}"


def restarts(fit: Fit) -> int:
    """How many starts the fit was the best of."""
    return sum(optimum.count for optimum in fit.optima)


def number(value: Any, form: str) -> str:
    """A number as the tables write it; n/a for what could not be computed, <1e-15 for what is rounding."""
    value = float(value)
    if math.isnan(value):
        return "n/a"
    if form.endswith("g}") and 0 < abs(value) < 1e-15:
        return "<1e-15"
    if form.endswith("g}") and 100 <= abs(value) < math.inf:
        return f"{value:.0f}"
    return form.format(value)


def _best(comparison: Comparison) -> tuple[str, set[str], str]:
    """Which fits deserve an asterisk, in which column, and why.

    Log-likelihoods rank maximum likelihood fits with equally many parameters, and only if they differ by more than two
    runs that ended in the same optimum would; BIC ranks fits with different numbers of parameters. Rows held out rank
    all fits, where there are some.
    """
    frame = comparison.frame()
    if not frame["held_out"].isna().to_numpy().any():
        short = max(frame["held_out"]) - frame["held_out"].to_numpy()
        tie = SAME_OPTIMUM + 2 * max(frame["held_out_error"])
        best = {name for name, value in zip(frame.index, short, strict=True) if value <= tie}
        return ("held_out", best, "* best on rows held out") if len(best) < len(frame) else ("", set(), "")
    if len(set(frame["free_parameters"])) > 1:
        column, note = "bic", "* lowest BIC"
        short, tie = frame["bic"].to_numpy(), 2 * SAME_OPTIMUM * comparison.x.total_weight
    elif not frame["log_prior"].to_numpy().any():
        column, note = "log_likelihood", f"* best optimum: more than {SAME_OPTIMUM:g} nats per row above the others"
        short, tie = -frame["nats_per_row"].to_numpy(), SAME_OPTIMUM
    else:
        return "", set(), ""
    best = {name for name, value in zip(frame.index, short, strict=True) if value - min(short) <= tie}
    return (column, best, note) if len(best) < len(frame) else ("", set(), "")


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    table = Table(box=box.MARKDOWN)  # plain characters, which every terminal and every issue shows
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    # markup off: a fit may be called [svi]; colours off and as wide as it needs, whatever the terminal
    console = Console(file=io.StringIO(), width=10_000, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines() if line.strip())


def _list(title: str, sentences: dict[str, str]) -> str:
    width = max(map(len, sentences))
    return "\n".join([title, *(f"  {name:<{width}}  {sentence}" for name, sentence in sentences.items())])


def _blocks(lines: Sequence[Sequence[str]], names: Sequence[str]) -> list[list[str]]:
    """The names of the fits whose columns fit beside each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths = [widths[0], *(max(width, len(name)) for name, width in zip(names, widths[1:], strict=True))]
    return [[names[i - 1] for i in run] for run in _runs(widths)]


def _runs(widths: Sequence[int]) -> list[list[int]]:
    """Which columns, 1 and on, fit beside column 0 at a time."""
    runs: list[list[int]] = []
    room = 0
    for i, width in enumerate(widths[1:], 1):
        if not runs or width + 3 > room:
            runs.append([])
            room = WIDTH - widths[0] - 4
        runs[-1].append(i)
        room -= width + 3
    return runs

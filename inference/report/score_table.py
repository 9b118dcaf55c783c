"""The scores of a comparison and the distances between its fits, as lines of text."""

from __future__ import annotations

import math

from ...models.abilities import HasComponents
from ..criticism.comparison import Comparison
from ..fitting.fit import SAME_OPTIMUM
from .text_table import format_number

# one line of the table each: a column of Comparison.frame(), its title, the format of its numbers
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
# lines that are left out where no fit has a value other than 0
OPTIONAL = {"log_prior", "log_likelihood_error", "held_out", "bound", "log_evidence", "pareto_k", "sd_ratio"}
OPTIMIZERS_ONLY = {"passes", "gradient_norm"}  # lines in which samplers have "-"
DISTANCES = (
    ("parameter_distance", "parameter distance", "{:.2g}"),
    ("posterior_kl", "mean posterior KL, nats", "{:.2g}"),
)


def score_lines(comparison: Comparison) -> tuple[list[list[str]], str]:
    """The lines of the table, [title, number of fit 1, ...], and what its asterisk means ("" if there is none)."""
    frame = comparison.frame()
    marked, best, note = _best(comparison)
    lines = []
    for column, title, form in SCORES:
        if column in OPTIONAL and (column not in frame or not frame[column].fillna(0).to_numpy().any()):
            continue
        cells = [format_number(value, form) for value in frame[column]]
        if column in OPTIMIZERS_ONLY:
            cells = ["-" if cell == "n/a" else cell for cell in cells]
        if column == marked:
            cells = [f"* {cell}" if name in best else cell for name, cell in zip(frame.index, cells, strict=True)]
        lines.append([title, *cells])
    return lines, note


def pair_lines(comparison: Comparison) -> list[list[str]]:
    """One line for each pair of fits whose components match: [names, parameter distance, posterior KL]."""
    columns = [column for column, _, _ in DISTANCES]
    return [
        [f"{pair['first']}, {pair['second']}", *(format_number(pair[column], form) for column, _, form in DISTANCES)]
        for pair in comparison.pairs().dropna(subset=columns, how="all").to_dict("records")
    ]


def has_unmatched(comparison: Comparison) -> bool:
    """Whether the components of some pair of fits, both with components, could not be matched."""
    mixtures = [name for name, fit in comparison.fits.items() if isinstance(fit.model, HasComponents)]
    return any(
        math.isnan(pair["posterior_kl"])
        for pair in comparison.pairs().to_dict("records")
        if pair["first"] in mixtures and pair["second"] in mixtures
    )


def _best(comparison: Comparison) -> tuple[str, set[str], str]:
    """The column with an asterisk, the names of the best fits in it, and the note below the table.

    Held-out rows rank all fits, where there are some. Otherwise BIC ranks fits with different numbers of parameters,
    and the log-likelihood ranks maximum likelihood fits with the same number. Fits that differ by no more than two
    runs to one optimum do are equally good; there is no asterisk if all fits are.
    """
    frame = comparison.frame()
    if not frame["held_out"].isna().to_numpy().any():
        behind = max(frame["held_out"]) - frame["held_out"].to_numpy()
        tie = SAME_OPTIMUM + 2 * max(frame["held_out_error"])
        best = {name for name, value in zip(frame.index, behind, strict=True) if value <= tie}
        return ("held_out", best, "* best on rows held out") if len(best) < len(frame) else ("", set(), "")
    if len(set(frame["free_parameters"])) > 1:
        column, note = "bic", "* lowest BIC"
        score, tie = frame["bic"].to_numpy(), 2 * SAME_OPTIMUM * comparison.x.total_weight
    elif not frame["log_prior"].to_numpy().any():
        column, note = "log_likelihood", f"* highest bound: more than {SAME_OPTIMUM:g} nats per row above the others"
        score, tie = -frame["nats_per_row"].to_numpy(), SAME_OPTIMUM
    else:
        return "", set(), ""
    best = {name for name, value in zip(frame.index, score, strict=True) if value - min(score) <= tie}
    return (column, best, note) if len(best) < len(frame) else ("", set(), "")

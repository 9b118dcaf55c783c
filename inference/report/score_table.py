"""The scores of a comparison and the distances between its fits, as lines of text."""

from __future__ import annotations

import math

from ..criticism.comparison import Comparison
from ..fitting.fit import SAME_OPTIMUM
from .text_table import format_number

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


DISTANCES = (
    ("parameter_distance", "parameter distance", "{:.2g}"),
    ("posterior_kl", "mean posterior KL, nats", "{:.2g}"),
)


def score_lines(comparison: Comparison) -> tuple[list[list[str]], str]:
    """The lines of the table, [what, fit, fit, ...], and what its asterisk means ("" if there is none).

    The log prior is left out if no fit has one, as are the errors of estimates and the rows held out.
    """
    frame = comparison.frame()
    marked, best, note = _best(comparison)
    lines = []
    for column, title, form in SCORES:
        if column in OPTIONAL and (column not in frame or not frame[column].fillna(0).to_numpy().any()):
            continue
        cells = [format_number(value, form) for value in frame[column]]
        if column in UPHILL:
            cells = ["-" if cell == "n/a" else cell for cell in cells]
        if column == marked:
            cells = [f"* {cell}" if name in best else cell for name, cell in zip(frame.index, cells, strict=True)]
        lines.append([title, *cells])
    return lines, note


def pair_lines(comparison: Comparison) -> list[list[str]]:
    """["first, second", parameter distance, posterior KL] of each pair of fits whose components match."""
    columns = [column for column, _, _ in DISTANCES]
    return [
        [f"{pair['first']}, {pair['second']}", *(format_number(pair[column], form) for column, _, form in DISTANCES)]
        for pair in comparison.pairs().dropna(subset=columns, how="all").to_dict("records")
    ]


def has_unmatched(comparison: Comparison) -> bool:
    """Whether some fits that have components have none that match."""
    mixtures = [name for name, fit in comparison.fits.items() if hasattr(fit.model, "permute")]
    apart = comparison.pairs()
    ours = [pair for pair in apart.to_dict("records") if pair["first"] in mixtures and pair["second"] in mixtures]
    return any(math.isnan(pair["posterior_kl"]) for pair in ours)


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

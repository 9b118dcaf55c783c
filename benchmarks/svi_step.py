"""What one step of `SVI` costs on a batch of 1024 rows, beside a loop written by hand in torch.

Of ours all is timed: reading the batch, its checks, the loss, its gradient and Adam; of the loop by hand the same, but
for checks. `python -m benchmarks.svi_step` prints a table.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from statistics import median

import pyro
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.machine import machine
from benchmarks.timing import interleaved
from lowerbound.inference import SVI
from lowerbound.models import GaussianMixture, Rows, seed

BATCH = 1024
BATCHES = 8  # in a pass
SHAPES = ((2, 2), (8, 8), (16, 16))  # columns, components
SAME = 1e-9  # nats per row: how closely the losses must agree before they are timed
STILL = 1e-9  # a learning rate too small to move the parameters away from where they are timed
TARGETS = {"exact": 1 / 1.5}  # as fast as by hand; the others are reported
HAND = "torch by hand"


def by_hand(weights: Tensor, loc: Tensor, scale_tril: Tensor) -> tuple[list[Tensor], Callable[[Tensor], Tensor]]:
    """The negative log-likelihood, nats per row, of a full-covariance mixture as a torch user would write it, and its
    parameters."""
    logits = weights.log().clone().requires_grad_()
    means = loc.clone().requires_grad_()
    log_diagonal = scale_tril.diagonal(dim1=-2, dim2=-1).log().clone().requires_grad_()
    lower = scale_tril.tril(-1).clone().requires_grad_()

    def loss(x: Tensor) -> Tensor:
        factor = lower.tril(-1) + torch.diag_embed(log_diagonal.exp())
        white = torch.linalg.solve_triangular(factor, (x - means[:, None]).mT, upper=False)  # (k, d, n)
        joint = torch.log_softmax(logits, 0)[:, None] - 0.5 * white.square().sum(1) - log_diagonal.sum(1)[:, None]
        return -(torch.logsumexp(joint, 0).mean() - 0.5 * x.shape[1] * math.log(2 * math.pi))

    return [logits, means, log_diagonal, lower], loss


def passes(d: int, k: int) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """By name, a pass of `BATCHES` steps over the same rows, and the loss of one batch at the parameters it begins
    with, in nats per row."""
    x = torch.randn(BATCH * BATCHES, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = seed(GaussianMixture(k, d), x)
    parameters, loss = by_hand(*(t.detach() for t in (start.weights, start.family.loc, start.family.scale_tril)))
    optimizer = torch.optim.Adam(parameters, lr=STILL, fused=True)

    def loop() -> None:
        for index in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss(x[index]).backward()
            optimizer.step()

    functions: dict[str, Callable[[], object]] = {HAND: loop}
    losses = {HAND: float(loss(x[:BATCH]).detach())}
    for elbo in ("exact", "sampled", "enumerated"):
        engine, rows, model = SVI(elbo, batch_size=BATCH, learning_rate=STILL), Rows(x), seed(GaussianMixture(k, d), x)
        _ = rows.moments  # as a fit has read them: their cells are not looked at again
        steps = engine.passes(model, rows, 10**6, torch.Generator().manual_seed(0))
        functions[elbo] = lambda steps=steps: steps._improve(0)
        losses[elbo] = float(engine.loss_of_pass(model, 0)(x[:BATCH], None, None, BATCH).detach()) / BATCH
        if elbo != "exact":
            functions[f"{elbo}, no validation"] = lambda steps=steps: _unchecked(steps)
    return functions, losses


def _unchecked(steps: object) -> None:
    with pyro.validation_enabled(False):
        steps._improve(0)  # type: ignore[attr-defined]


def steps(times: int, quick: bool = False) -> tuple[list[dict], Table]:
    """Milliseconds per step of each estimator and shape, and how many times the hand-written step's they are."""
    table = Table(title=f"One SVI step on {BATCH} rows, full covariance: milliseconds, median (times torch by hand)")
    results = []
    for d, k in SHAPES[:1] if quick else SHAPES:
        torch.manual_seed(0)
        functions, losses = passes(d, k)
        spread = max(losses.values()) - min(losses.values())
        if not spread <= SAME:
            raise SystemExit(f"the losses of {d} columns, {k} components differ by {spread:.2g} nats a row: {losses}")
        seconds = interleaved(functions, times)
        milliseconds = {name: 1e3 * median(values) / BATCHES for name, values in seconds.items()}
        ratios = {
            name: median(own / hand for own, hand in zip(values, seconds[HAND], strict=True))
            for name, values in seconds.items()
        }
        results.append(
            {
                "columns": d,
                "components": k,
                "batch": BATCH,
                "ms": milliseconds,
                "ratio": ratios,
                "loss_spread": spread,
            }
        )
    table.add_column("columns", justify="right")
    table.add_column("components", justify="right")
    for name in results[0]["ms"]:
        table.add_column(name, justify="right")
    for r in results:
        cells = (f"{ms:.2f} ({r['ratio'][name]:.1f})" for name, ms in r["ms"].items())
        table.add_row(str(r["columns"]), str(r["components"]), *cells)
    return results, table


def results(times: int = 9, quick: bool = False) -> list[dict]:
    """Each estimator beside the loop by hand; ratio: how many times as fast; target: the least of it, None for any."""
    return [
        {
            "what": f"SVI step, {name}",
            "shape": f"{BATCH} x {r['columns']}, k = {r['components']}, full",
            "opponent": HAND,
            "ours": ms,
            "theirs": r["ms"][HAND],
            "ratio": 1 / r["ratio"][name],
            "target": TARGETS.get(name),
        }
        for r in steps(times, quick)[0]
        for name, ms in r["ms"].items()
        if name != HAND
    ]


def main(arguments: list[str] | None = None) -> None:
    """Print the table, and the machine it is of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=9, help="how often each is timed, in turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="the smallest shape only")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    console = Console()
    console.print(machine(given.threads)["text"])
    console.print(steps(given.times, given.quick)[1])


if __name__ == "__main__":
    main()

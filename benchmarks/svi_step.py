"""What one SVI step costs on a batch of 1024 rows: three estimators of ours, and a step written by hand in torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median

import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from rich.table import Table
from torch import Tensor

from benchmarks.timing import interleaved
from lowerbound.models import GaussianMixture, seed

BATCH = 1024
SHAPES = ((2, 2), (16, 16))  # columns, components
SAME = 1e-9  # nats per row: how closely the four losses must agree before they are timed


def by_hand(x: Tensor, weights: Tensor, loc: Tensor, scale_tril: Tensor) -> tuple[list[Tensor], Callable[[], Tensor]]:
    """The negative log-likelihood of a full-covariance mixture as a torch user would write it, and its parameters."""
    logits = weights.log().clone().requires_grad_()
    means = loc.clone().requires_grad_()
    log_diagonal = scale_tril.diagonal(dim1=-2, dim2=-1).log().clone().requires_grad_()
    lower = scale_tril.tril(-1).clone().requires_grad_()

    def loss() -> Tensor:
        factor = lower.tril(-1) + torch.diag_embed(log_diagonal.exp())
        white = torch.linalg.solve_triangular(factor, (x - means[:, None]).mT, upper=False)  # (k, d, n)
        joint = torch.log_softmax(logits, 0)[:, None] - 0.5 * white.square().sum(1) - log_diagonal.sum(1)[:, None]
        return -(torch.logsumexp(joint, 0).mean() - 0.5 * x.shape[1] * math.log(2 * math.pi))

    return [logits, means, log_diagonal, lower], loss


def losses(d: int, k: int) -> tuple[dict[str, Callable[[], Tensor]], dict[str, list[Tensor]]]:
    """By name, the loss in nats per row of one batch at the same parameters, and the parameters it trains."""
    x = torch.randn(BATCH, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    functions: dict[str, Callable[[], Tensor]] = {}
    parameters: dict[str, list[Tensor]] = {}

    def add(name: str, loss_of: Callable) -> None:
        model = seed(GaussianMixture(k, d), x)
        functions[name], parameters[name] = loss_of(model), list(model.parameters())

    def pyro(elbo: Trace_ELBO, guide_of: Callable) -> Callable:
        return lambda model: lambda: elbo.differentiable_loss(model.model, guide_of(model), x) / BATCH

    start = seed(GaussianMixture(k, d), x)
    values = (t.detach() for t in (start.weights, start.family.loc, start.family.scale_tril))
    parameters["torch by hand"], functions["torch by hand"] = by_hand(x, *values)
    add("exact", lambda model: lambda: -model.objective(x).mean())
    add("sampled (Trace_ELBO)", pyro(Trace_ELBO(), lambda model: model.guide))
    blocked = lambda model: poutine.block(model.guide, hide_types=["sample"])  # noqa: E731
    add("enumerated (TraceEnum_ELBO)", pyro(TraceEnum_ELBO(max_plate_nesting=1), blocked))
    return functions, parameters


def training_step(loss: Callable[[], Tensor], parameters: list[Tensor]) -> Callable[[], None]:
    """Gradient and one Adam update, its step too small to move the parameters away from where they are timed."""
    optimizer = torch.optim.Adam(parameters, lr=1e-9)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def steps(times: int, quick: bool) -> tuple[list[dict], Table]:
    """Milliseconds per step of each estimator and shape, and how many times the hand-written step's they are."""
    table = Table(title=f"One SVI step on {BATCH} rows, full covariance: milliseconds, median (times torch by hand)")
    results = []
    for d, k in SHAPES[:1] if quick else SHAPES:
        functions, parameters = losses(d, k)
        torch.manual_seed(0)
        values = {name: float(loss().detach()) for name, loss in functions.items()}
        spread = max(values.values()) - min(values.values())
        if not spread <= SAME:
            raise SystemExit(f"the losses of {d} columns, {k} components differ by {spread:.2g} nats a row: {values}")
        seconds = interleaved({n: training_step(functions[n], parameters[n]) for n in functions}, times)
        milliseconds = {name: 1e3 * median(values) for name, values in seconds.items()}
        results.append({"columns": d, "components": k, "batch": BATCH, "ms": milliseconds, "loss_spread": spread})
    table.add_column("columns", justify="right")
    table.add_column("components", justify="right")
    for name in results[0]["ms"]:
        table.add_column(name, justify="right")
    for r in results:
        base = r["ms"]["torch by hand"]
        cells = (f"{ms:.2f} ({ms / base:.1f})" for ms in r["ms"].values())
        table.add_row(str(r["columns"]), str(r["components"]), *cells)
    return results, table

"""How many E-steps SQUAREM needs where EM creeps: the deaths of the London Times, two Poisson components.

From Varadhan & Roland's start and random ones, as the R packages draw them, until the log-likelihood is within 1e-8
nats of the published one. Rejected extrapolations are counted.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.rows import Row
from lowerbound.datasets import load
from lowerbound.inference import EM
from lowerbound.models import PoissonMixture, Rows

TOP = -1989.945859883  # Hasselblad (1969); the vignettes of turboEM and SQUAREM
STARTS, LEAST = 5, 20.0
MOST = 3000  # E-steps


def e_steps(engine: EM, weight: float, rates: list[float]) -> int:
    """E-steps until the log-likelihood of all rows is within 1e-8 of the top; `MOST` + 1 if it never is."""
    model = PoissonMixture(2, 1)
    model.weights, model.family.rate = torch.tensor([weight, 1 - weight]), torch.tensor(rates).reshape(2, 1)
    rows, generator = Rows(load("deaths")), torch.Generator()
    model.initialize(rows, None, generator, redraw=False)  # as `fit` does first
    for number, bound in enumerate(engine.passes(model, rows, MOST, generator), 1):
        if bound * rows.total_weight >= TOP - 1e-8 or number > MOST:
            break
    return number


def results() -> list[Row]:
    """The named start, then the random ones together."""
    rng = np.random.default_rng(0)
    starts = [(0.3, [1.0, 2.5]), *((float(rng.random()), rng.uniform(0, 4, 2).tolist()) for _ in range(STARTS))]
    plain, fast = (np.array([e_steps(EM(tol=0.0, accelerate=how), *s) for s in starts]) for how in (None, "squarem"))
    ratios = plain / fast

    def row(which: slice, of: str, target: float | None) -> Row:
        each = ratios[which]
        counts = float(np.median(fast[which])), float(np.median(plain[which]))
        spread = {"ratio": float(np.median(each)), "least": float(each.min()), "most": float(each.max())}
        return Row("SQUAREM, deaths of the Times", of, "EM", *counts, unit="E-steps", **spread, target=target)

    return [row(slice(0, 1), "the R packages' start", LEAST), row(slice(1, None), f"{STARTS} random starts", None)]

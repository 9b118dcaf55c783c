"""How many E-steps SQUAREM needs where EM creeps: the deaths of the London Times, two Poisson components.

Run as `python -m benchmarks.accelerated` (two minutes): from Varadhan & Roland's start and 30 random ones, as the R
packages draw them, until the log-likelihood is within 1e-8 nats of the published one. Rejected leaps are counted.
"""

from __future__ import annotations

import numpy as np
import torch

from lowerbound.datasets import load
from lowerbound.inference import EM, fit
from lowerbound.models import PoissonMixture

TOP = -1989.945859883  # Hasselblad (1969); the vignettes of turboEM and SQUAREM
STARTS, LEAST = 30, 20


def e_steps(engine: EM, weight: float, rates: list[float], most: int) -> int:
    """E-steps until the log-likelihood of all rows is within 1e-8 of the top; `most` + 1 if it never is."""
    model = PoissonMixture(2, 1)
    model.weights, model.family.rate = torch.tensor([weight, 1 - weight]), torch.tensor(rates).reshape(2, 1)
    x = load("deaths")
    bounds = fit(model, x, engine, max_passes=most).bounds * len(x)
    there = (bounds >= TOP - 1e-8).nonzero()
    return int(there[0]) + 1 if len(there) else most + 1


def main() -> int:
    rng = np.random.default_rng(0)
    starts = [(0.3, [1.0, 2.5]), *((float(rng.random()), rng.uniform(0, 4, 2).tolist()) for _ in range(STARTS))]
    counts = []
    for weight, rates in starts:
        plain, fast = (e_steps(EM(tol=0.0, accelerate=how), weight, rates, 3000) for how in (None, "squarem"))
        counts.append((plain, fast))
    ratios = np.array([plain / fast for plain, fast in counts])
    print(f"weights (.3, .7), rates (1, 2.5): EM {counts[0][0]} E-steps, SQUAREM {counts[0][1]}: {ratios[0]:.1f} times")
    plain, fast = np.array(counts[1:]).T
    others = ratios[1:]
    print(
        f"{STARTS} random starts: EM {plain.min()} to {plain.max()}, SQUAREM {fast.min()} to {fast.max()}; ratio "
        f"{np.median(others):.1f} (median), {others.min():.1f} to {others.max():.1f}, at least {LEAST} for "
        f"{(others >= LEAST).sum()}"
    )
    return int(ratios[0] < LEAST)


if __name__ == "__main__":
    raise SystemExit(main())

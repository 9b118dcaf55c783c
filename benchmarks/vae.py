"""A variational autoencoder of digits: what a step costs beside plain torch and Pyro, and how well it ends.

`python -m benchmarks vae` times steps; `python -m benchmarks.vae --data PATH` trains on digits as `benchmarks.mnist`
reads them.
The network is that of Burda, Grosse & Salakhutdinov, ICLR 2016: 784 - 200 - 200 - 50 - 200 - 200 - 784, tanh.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.infer import Trace_ELBO
from rich.console import Console
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from benchmarks.machine import machine
from benchmarks.mnist import read
from benchmarks.rows import Row, timed
from benchmarks.timing import interleaved
from lowerbound.inference import SVI, evidence, fit
from lowerbound.models import VAE, BernoulliDecoder, Binarized, MLPEncoder, Rows

FEATURES, HIDDEN, LATENT, BATCH = 784, (200, 200), 50, 100
LEARNING_RATE, DECAY = 1e-3, 0.1  # from 1e-3 to 1e-4, as in the paper, here evenly on a logarithmic scale
TIMED_ROWS = 10_000  # a pass over them is what is timed: 100 steps
BAR = 1.15  # a step of ours may take at most this many times the hand-written one's
AGREE_DRAWS, AGREE_ERRORS = 50, 5  # all losses are the same mean, by so many draws within so many standard errors
BINARIZED_BY = 0  # seed of the one draw of the test rows
PAPER = {1: 86.76, 5: 85.54, 50: 84.78}  # test NLL in nats by importance samples in training, 3280 epochs, Table 1
PAPER_EPOCHS = 3280
RESULTS = Path(__file__).parent / "results" / "vae.json"

HAND, FUSED, PYRO = "torch by hand", "torch by hand, fused Adam", "Pyro's example"
OURS, PRINTED, SAMPLED = 'SVI("analytic")', 'SVI("analytic") and the bound of each pass', 'SVI("sampled")'

Pass = Callable[[], object]


def vae(features: int) -> VAE:
    """The network of the paper, in lowerbound."""
    return VAE(MLPEncoder(features, LATENT, HIDDEN), BernoulliDecoder(LATENT, features, HIDDEN), LATENT)


def layers(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with tanh between them."""
    made: list[nn.Module] = []
    for before, after in pairwise(sizes):
        made += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*made[:-1])


class ByHand(nn.Module):
    """The same network as a torch user writes it out."""

    def __init__(self, features: int):
        super().__init__()
        self.encoder = layers((features, *HIDDEN, 2 * LATENT))
        self.decoder = layers((LATENT, *HIDDEN, features))

    def loss(self, x: Tensor) -> Tensor:
        """The negative ELBO in nats per row, the KL in closed form."""
        loc, log_variance = self.encoder(x).chunk(2, dim=-1)
        z = loc + torch.exp(0.5 * log_variance) * torch.randn_like(loc)
        reconstruction = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        divergence = -0.5 * torch.sum(1 + log_variance - loc.square() - log_variance.exp())
        return (reconstruction + divergence) / len(x)


class PyroStyle(ByHand):
    """The same network as Pyro's tutorial on VAEs writes it, but for `logits`, which cost it less than a sigmoid."""

    def model(self, x: Tensor) -> None:
        """z ~ N(0, I); x ~ Bernoulli(decoder(z))."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            loc, scale = x.new_zeros(len(x), LATENT), x.new_ones(len(x), LATENT)
            z = pyro.sample("latent", dist.Normal(loc, scale).to_event(1))
            pyro.sample("obs", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """z ~ N(encoder(x))."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            loc, log_variance = self.encoder(x).chunk(2, dim=-1)
            pyro.sample("latent", dist.Normal(loc, torch.exp(0.5 * log_variance)).to_event(1))


def batches(grey: Tensor) -> Iterator[Tensor]:
    """All rows once in a new order, in black and white drawn anew."""
    for index in torch.randperm(len(grey)).split(BATCH):
        yield torch.bernoulli(grey[index])


def hand_pass(net: ByHand, grey: Tensor, fused: bool) -> Pass:
    """A pass of the hand-written loop."""
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, fused=fused)

    def run() -> None:
        for x in batches(grey):
            optimizer.zero_grad()
            net.loss(x).backward()
            optimizer.step()

    return run


def pyro_pass(net: PyroStyle, grey: Tensor) -> Pass:
    """A pass of Pyro's own SVI."""
    svi = pyro.infer.SVI(net.model, net.guide, pyro.optim.Adam({"lr": LEARNING_RATE}), Trace_ELBO())

    def run() -> None:
        for x in batches(grey):
            svi.step(x)

    return run


def our_pass(model: VAE, grey: Tensor, engine: SVI, bound: bool) -> Pass:
    """A pass of ours: the optimizer's steps as `fit` takes them, and (bound=True) the bound of all rows after them."""
    rows = Rows(Binarized(grey))
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    model.initialize(rows, None, generator, redraw=False)  # as `fit` does first
    steps = engine.passes(model, rows, 1, generator)
    next(steps)  # the bound at the start
    return (lambda: next(steps)) if bound else (lambda: steps._improve(0))


def engine_of(elbo: str, particles: int = 1, decay: float = 1.0) -> SVI:
    """SVI in batches, at the learning rate that all have."""
    return SVI(elbo, learning_rate=LEARNING_RATE, batch_size=BATCH, particles=particles, decay=decay)  # type: ignore[reportArgumentType]


def same_start(features: int) -> tuple[VAE, PyroStyle]:
    """Ours and the others' network with the same weights, and standard deviations of 1 whatever the row: a softplus
    here and an exponential there then say the same."""
    model, net = vae(features), PyroStyle(features)
    last = model.encoder.network[-1]  # type: ignore[reportIndexIssue]
    with torch.no_grad():
        last.weight[LATENT:] = 0
        last.bias[LATENT:] = 0
    net.encoder.load_state_dict(model.encoder.network.state_dict())  # type: ignore[reportCallIssue]
    net.decoder.load_state_dict(model.decoder.network.state_dict())  # type: ignore[reportCallIssue]
    return model, net


def require_agreement(model: VAE, net: PyroStyle, x: Tensor) -> dict[str, float]:
    """The loss of each contestant, nats per row of x, which must be one number but for the draws of z."""

    def ours(elbo: str) -> Callable[[], Tensor]:
        loss = engine_of(elbo).loss_of_pass(model, 0)
        return lambda: loss(x, None, None, len(x)) / len(x)

    functions: dict[str, Callable[[], Tensor]] = {
        HAND: lambda: net.loss(x),
        PYRO: lambda: Trace_ELBO().differentiable_loss(net.model, net.guide, x) / len(x),
        OURS: ours("analytic"),
        SAMPLED: ours("sampled"),
    }
    torch.manual_seed(0)
    drawn = {name: [float(function().detach()) for _ in range(AGREE_DRAWS)] for name, function in functions.items()}
    means = {name: mean(values) for name, values in drawn.items()}
    error = {name: stdev(values) / AGREE_DRAWS**0.5 for name, values in drawn.items()}
    for name in functions:
        allowed = AGREE_ERRORS * (error[name] ** 2 + error[HAND] ** 2) ** 0.5
        if not abs(means[name] - means[HAND]) <= allowed:
            raise ArithmeticError(
                f"the losses differ: {name} {means[name]:.4f}, {HAND} {means[HAND]:.4f} nats per row, expected "
                f"the same within {allowed:.2g}: nothing is timed"
            )
    return means


def results() -> list[Row]:
    """A step of ours against one written by hand, with a plain Adam and with a fused one, which ours has, and against
    Pyro's example; and of ours by other roads. Of random pictures, on which steps take as long."""
    generator = torch.Generator().manual_seed(0)
    grey = torch.rand(TIMED_ROWS, FEATURES, generator=generator)
    count = -(-len(grey) // BATCH)
    pyro.clear_param_store()
    try:
        model, net = same_start(grey.shape[1])
        require_agreement(model, net, torch.bernoulli(grey[:BATCH], generator=generator))
        pyro.clear_param_store()
        passes = interleaved(
            {
                HAND: hand_pass(copy.deepcopy(net), grey, fused=False),
                OURS: our_pass(model, grey, engine_of("analytic"), bound=False),
                FUSED: hand_pass(copy.deepcopy(net), grey, fused=True),
                PRINTED: our_pass(model, grey, engine_of("analytic"), bound=True),
                SAMPLED: our_pass(model, grey, engine_of("sampled"), bound=False),
                PYRO: pyro_pass(net, grey),
            }
        )
    finally:
        pyro.clear_param_store()  # where Pyro's own SVI keeps the networks
    seconds = {name: [s / count for s in values] for name, values in passes.items()}
    of = f"{BATCH} x {FEATURES}"
    asked = {HAND: 1 / BAR}
    rows = [timed(f"VAE step, {OURS}", of, n, seconds[OURS], seconds[n], asked.get(n)) for n in (HAND, FUSED, PYRO)]
    return rows + [timed(f"VAE step, {n}", of, HAND, seconds[n], seconds[HAND]) for n in (PRINTED, SAMPLED)]


@dataclass(frozen=True)
class Telling:
    """An engine that says every few passes what the bound of held-out rows is, and is otherwise the engine it has."""

    engine: SVI
    held_out: Tensor
    every: int
    tell: Callable[[str], None]

    def passes(self, model: VAE, rows: Rows, max_passes: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Those of the engine."""
        began = time.perf_counter()
        for number, bound in enumerate(self.engine.passes(model, rows, max_passes, generator)):
            if number % self.every == 0 or number == max_passes - 1:
                held_out = float(model.bound(self.held_out).mean())
                spent = time.perf_counter() - began
                self.tell(f"epoch {number:4d}: ELBO {float(bound):9.3f} train, {held_out:9.3f} test ({spent:.0f} s)")
            yield bound

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """As the engine does."""
        return self.engine.stop(bounds, max_passes)


def train(
    digits: Tensor, test: Tensor, epochs: int, importance: int, samples: int, every: int, tell: Callable[[str], None]
) -> dict:
    """Fit the network to grey digits, binarised anew at each reading; the NLL of test rows, binarised once."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(BINARIZED_BY)
        test = torch.bernoulli(test)
    engine = engine_of("importance" if importance > 1 else "analytic", importance, DECAY)
    # a fit of n passes takes n - 1 times all steps: the first bound is that of the start
    fitted = fit(vae(digits.shape[1]), Binarized(digits), Telling(engine, test, every, tell), max_passes=epochs + 1)
    began = time.perf_counter()
    found = evidence(fitted.model, test, samples=samples)
    return {
        "engine": repr(engine),
        "epochs": epochs,
        "importance": importance,
        "seconds": fitted.seconds,
        "train_elbo": float(fitted.bounds[-1]),
        "test_rows": len(test),
        "test_elbo": float(found.elbo.mean()),
        "test_nll": -found.mean,
        "test_nll_error": found.mean_error,
        "least_effective_samples": float(found.effective_samples.min()),
        "samples": samples,
        "evaluation_seconds": time.perf_counter() - began,
        "paper": PAPER.get(importance),
    }


def verdict(run: dict) -> str:
    """What training came to, beside the paper."""
    nll = f"test NLL {run['test_nll']:.2f} +- {run['test_nll_error']:.2f} nats"
    how = f"{run['samples']} draws each of {run['test_rows']} rows, {run['evaluation_seconds']:.0f} s"
    lines = [
        f"{nll} ({how}) after {run['epochs']} epochs in {run['seconds']:.0f} s; ELBO {run['test_elbo']:.2f}",
        f"Burda et al. 2016, k={run['importance']}: "
        + (f"{run['paper']} after {PAPER_EPOCHS} epochs" if run["paper"] else "no figure for this k"),
    ]
    if run["epochs"] < PAPER_EPOCHS:
        lines.append(f"{run['epochs']} epochs are fewer than {PAPER_EPOCHS}: a short run ends higher (worse)")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Train, print, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vae", description=__doc__)
    parser.add_argument("--data", required=True, help="digits: a folder of idx files or an .npz")
    parser.add_argument("--epochs", type=int, default=100, help="of training (default 100)")
    parser.add_argument("--importance", type=int, default=1, metavar="K", help="train the IWAE bound of K draws")
    parser.add_argument("--samples", type=int, default=5000, help="draws per row for the test NLL (default 5000)")
    parser.add_argument("--test-rows", type=int, help="evaluate on the first so many test rows (default all)")
    parser.add_argument("--every", type=int, default=5, help="epochs between two lines (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default 2)")
    options = parser.parse_args(arguments)
    if min(options.epochs, options.importance, options.samples, options.every, options.threads) < 1:
        parser.error("the options that count expect at least 1")
    if options.test_rows is not None and options.test_rows < 1:
        parser.error(f"got --test-rows {options.test_rows}, expected at least 1")
    try:
        grey, test = (torch.as_tensor(rows) for rows in read(options.data))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    console = Console(width=max(110, Console().width))
    torch.set_num_threads(options.threads)

    def tell(line: str) -> None:
        console.print(line, highlight=False)

    with threadpool_limits(options.threads):
        about = machine(options.threads)
        console.print(about["text"])
        rows = test[: options.test_rows]
        trained = train(grey, rows, options.epochs, options.importance, options.samples, options.every, tell)
    console.print(verdict(trained))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": about, "training": trained}, indent=1) + "\n")
    console.print(f"written to {os.path.relpath(RESULTS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

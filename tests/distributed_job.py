"""What the processes of test_distributed.py run: `python distributed_job.py cases|killed|cli FOLDER ...`.

Each case is a function of nothing that gives numbers or words, the same in one process and in several.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

RESTARTED = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
KILLED_AT = 4  # writes of the checkpoint
rng = np.random.default_rng(0)
Z = rng.integers(0, 3, 301)  # an odd number: parts of different size
X = rng.normal(size=(301, 2)) * [1.0, 3.0] + Z[:, None] * [4.0, 5.0]
TAILS = X + rng.standard_t(2, size=X.shape)
GAPS = np.where(rng.random(X.shape) < 0.1, np.nan, X)
WEIGHTS = rng.integers(0, 3, 301).astype(float)
WEIGHTS[200:] = 0  # so that one half of the rows has little weight, and the end of the table none
LABELS = np.where(rng.random(301) < 0.2, Z, -1)
CODES = np.stack([(rng.random(301) < 0.2 + 0.3 * Z).astype(float), rng.integers(0, 3, 301)], 1)
CODES[rng.random(CODES.shape) < 0.1] = np.nan
MANY = rng.normal(size=(70_000, 1)) + 3 * rng.integers(0, 2, (70_000, 1))  # more than a start looks at
PICTURES = (rng.random((400, 6)) < 0.1 + 0.8 * (np.arange(400)[:, None] % 2)).astype(float)


def numbers(fitted):
    """What must be the same: parameters, bounds, optima, and the gradient."""
    state = {name: value.double() for name, value in fitted.model.state_dict().items()}
    found = {"bounds": fitted.bounds, "passes": torch.tensor(len(fitted.bounds)), **state}
    found["optima"] = torch.tensor([optimum.bound or 0.0 for optimum in fitted.optima])
    return found | ({} if fitted.held_out is None else {"held_out": fitted.held_out})


def fits():
    """Fits that are the same, but for rounding, however many processes share the rows."""
    from pyro.distributions import Weibull

    from lowerbound.inference import EM, SVI, fit
    from lowerbound.models import (
        PPCA,
        BayesianMixture,
        CategoricalMixture,
        FamilyOf,
        Gaussian,
        GaussianMixture,
        KMeans,
        Mixture,
        StudentTMixture,
    )

    far = KMeans(3, 2)
    far.loc = [[0.0, 0.0], [8.0, 10.0], [1e6, 1e6]]  # the last one is empty, and takes the row furthest from its own
    codes = {"weights": WEIGHTS, "labels": np.minimum(LABELS, 1)}
    return {
        "full, restarts in one tensor": lambda: fit(GaussianMixture(3, 2), X, EM(tol=1e-6), restarts=3),
        "in turn": lambda: fit(
            GaussianMixture(3, 2), X, EM(), restarts=2, validation=X[:100] + 0.1, patience=5, max_passes=20
        ),
        "tied, weights, gaps": lambda: fit(GaussianMixture(3, 2, "tied"), GAPS, EM(), weights=WEIGHTS, max_passes=20),
        "weak prior": lambda: fit(GaussianMixture(3, 2, prior="weak"), X, EM(), labels=LABELS, max_passes=20),
        # not to the end, where the length of a leap is a ratio of roundings
        "squarem": lambda: fit(GaussianMixture(2, 2), X, EM(accelerate="squarem"), max_passes=20),
        "kmeans": lambda: fit(KMeans(3, 2), X, EM(), restarts=2, weights=WEIGHTS),
        "kmeans, empty cluster": lambda: fit(far, X, EM()),
        "codes, merged": lambda: fit(CategoricalMixture(2, [2, 3]), CODES, EM(), max_passes=20, **codes),
        "variational Bayes": lambda: fit(BayesianMixture(Gaussian(3, 2)), GAPS, EM(), max_passes=20),
        "student": lambda: fit(StudentTMixture(2, 2), TAILS, EM(), max_passes=20),
        "steps uphill": lambda: fit(Mixture(FamilyOf(Weibull, 2, 1)), np.exp(X[:, :1] / 5), EM(), max_passes=8),
        # plain: extrapolations along so flat a bound multiply the rounding by which processes differ from one
        "ppca": lambda: fit(PPCA(2, 1), X, EM(accelerate=None), max_passes=30),
        "a start from a sample": lambda: fit(GaussianMixture(2, 1), MANY, EM(), max_passes=2),
        "a start from a weighted sample": lambda: fit(
            GaussianMixture(2, 1), MANY, EM(), weights=np.arange(70_000) % 40 > 0, max_passes=2
        ),
        "exact gradients": lambda: fit(GaussianMixture(3, 2), X, SVI("exact"), max_passes=15, weights=WEIGHTS),
        "a dataset": lambda: fit(GaussianMixture(2, 2), TensorDataset(torch.tensor(X)), EM(), max_passes=20),
    }


def local():
    """The first case of `fits` once more, from parts that are given as such, of very different size."""
    from lowerbound.inference import EM, Local, fit
    from lowerbound.inference.engines.processes import processes, rank
    from lowerbound.models import GaussianMixture

    part = slice(None) if processes() == 1 else slice(0, 70) if rank() == 0 else slice(70, None)
    own = Local(GAPS[part], WEIGHTS[part], LABELS[part])
    return fit(GaussianMixture(3, 2, "diag"), own, EM(), max_passes=15)


class Normed(nn.Module):
    """An encoder of a user's own, with running means."""

    def __init__(self):
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(6), nn.Linear(6, 2)

    def forward(self, x):
        import pyro.distributions as dist

        return dist.Normal(self.layer(self.norm(x)), 1.0).to_event(1)


def noisy():
    """Fits whose batches and draws are each process's own: the same model on all, as good as that of one."""
    from lowerbound.inference import SVI, OnlineEM, fit
    from lowerbound.inference.engines.processes import rank
    from lowerbound.models import VAE, BernoulliDecoder, GaussianMixture, MLPEncoder

    vae = SVI("analytic", batch_size=50)

    def begun_elsewhere():
        torch.manual_seed(rank())
        return VAE(Normed(), BernoulliDecoder(2, 6), 2)

    made = {
        "svi": lambda: fit(GaussianMixture(3, 2), X, SVI(batch_size=30), max_passes=25),
        "online EM": lambda: fit(GaussianMixture(3, 2), X, OnlineEM(batch_size=30), max_passes=15),
        "vae": lambda: fit(VAE(MLPEncoder(6, 2), BernoulliDecoder(2, 6), 2), PICTURES, vae, max_passes=30),
        "running means": lambda: fit(begun_elsewhere(), PICTURES, vae, max_passes=12),
    }
    return made


def resumable(folder):
    """A run that goes on from its checkpoint, if there is one."""
    from lowerbound.inference import SVI, fit
    from lowerbound.models import VAE, BernoulliDecoder, MLPEncoder

    model = VAE(MLPEncoder(6, 2), BernoulliDecoder(2, 6), 2)
    return fit(model, PICTURES, SVI("analytic", batch_size=50), max_passes=8, checkpoint=folder)


class Alone:
    """An engine of a user's own that takes its own part of the rows for all."""

    def passes(self, model, rows, max_passes, generator):
        while True:
            statistics = [model.expect(*chunk.arguments) for chunk in rows.chunks()]
            yield statistics[0].bound / rows.total_weight
            model.maximize(statistics[0])

    def stop(self, bounds, max_passes):
        return None


def wrong():
    """What is refused, by the sentence that says so."""
    from lowerbound.inference import EM, NUTS, Local, fit
    from lowerbound.inference.engines.processes import rank
    from lowerbound.models import BayesianMixture, Gaussian, GaussianMixture, PoissonMixture

    infinite, negative, twins = X.copy(), np.floor(np.abs(X)), np.repeat(X[:20], 2, 0)
    infinite[250, 1], negative[200, 0] = np.inf, -2
    own = X[: 300 - rank()]
    return {
        "infinite": lambda: fit(GaussianMixture(2, 2), infinite, EM()),
        "impossible": lambda: fit(PoissonMixture(2, 2), negative, EM()),
        "in the validation": lambda: fit(GaussianMixture(2, 2), X, EM(), validation=infinite),
        "collapse": lambda: fit(GaussianMixture(9, 2), twins, EM()),
        "another table": lambda: fit(GaussianMixture(2, 2), own, EM()),
        # in one row of the middle, which no sum of facts shows
        "another row": lambda: fit(GaussianMixture(2, 2), X + rank() * (np.arange(301) == 150)[:, None], EM()),
        "another column": lambda: fit(GaussianMixture(2, 2), pd.DataFrame(X, columns=[f"a{rank()}", "b"]), EM()),
        "on one": lambda: fit(GaussianMixture(2, 2), Local(X, X[:, 0] * 0 - 1) if rank() else Local(X), EM()),
        "loader": lambda: fit(GaussianMixture(2, 2), DataLoader(TensorDataset(torch.tensor(X))), EM()),
        "sampler": lambda: fit(BayesianMixture(Gaussian(2, 2)), X, NUTS()),
        "few": lambda: fit(GaussianMixture(1, 2), X[:1], EM()),
        "alone": lambda: fit(GaussianMixture(2, 2), X, Alone(), max_passes=4),  # type: ignore[arg-type]
        "folder": lambda: fit(GaussianMixture(2, 2), X, EM(), checkpoint="/nowhere/run.ckpt"),
    }


def said(call):
    """The error that a call raises."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def cases(folder):
    """All of it, in one job; each process writes what it found."""
    from lowerbound.inference.engines.collectives import average
    from lowerbound.inference.engines.processes import job, rank

    began = time.perf_counter()
    with job():
        found = {name: numbers(call()) for name, call in fits().items()}
        found["local"] = numbers(local())
        found["noisy"] = {name: numbers(call()) for name, call in noisy().items()}
        found["wrong"] = {name: said(call) for name, call in wrong().items()}
        resumed = resumable(folder / "killed.ckpt")
        found["resumed"], found["whole"] = numbers(resumed), numbers(resumable(folder / "whole.ckpt"))
        resumed.save(folder / f"saved by {rank()}")
        values = torch.arange(3.0) + rank()
        average([values], 1.0 + 2 * rank())
        found["average"] = values
        found["random state"] = torch.get_rng_state()
    found["seconds"] = time.perf_counter() - began
    torch.save(found, folder / f"{rank_of_this()}.pt")


def rank_of_this():
    return int(os.environ["RANK"])


def die_at(writes):
    """Process 1 is killed when the checkpoint has been written so often."""
    from lowerbound.inference.fitting.checkpoint import Checkpoint

    write, count = Checkpoint.write, [0]

    def counted(self, *args):
        write(self, *args)
        count[0] += 1
        if count[0] == writes and rank_of_this() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoint.write = counted


def main():
    torch.set_num_threads(1)
    what, folder, *arguments = sys.argv[1:]
    if what == "cases":
        cases(Path(folder))
    elif what == "killed":
        from lowerbound.inference.distributed import job

        die_at(KILLED_AT)
        with job():
            resumable(Path(folder) / "killed.ckpt")
    else:
        from lowerbound.inference.cli.app import app

        if not RESTARTED:
            die_at(KILLED_AT)
        app(arguments)


if __name__ == "__main__":
    main()

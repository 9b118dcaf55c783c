"""A model that has the LatentModel contract and nothing else: what a table, a figure or a report may rely on."""

import pandas as pd
import pyro
import torch
from pyro import distributions as dist
from torch import nn

from lowerbound.inference import EM, Fit
from lowerbound.inference.criticism.comparison import Comparison
from lowerbound.models import Rows


class Continuous(nn.Module):
    """z ~ N(0, I), x | z ~ N(z, I): continuous latents, no components, no parameters."""

    def model(self, x, weights=None, labels=None, rows=None):
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x, weights=None, labels=None, rows=None):
        with pyro.plate("rows", len(x)):
            return pyro.sample("z", self.posterior(x))

    def posterior(self, x):
        return dist.Normal(x / 2, 0.5**0.5).to_event(1)

    def bound(self, x, labels=None):
        return dist.Normal(0.0, 2**0.5).log_prob(x).sum(-1)

    objective = bound

    def evidence(self, x):
        return None

    def global_term(self):
        return torch.zeros((), dtype=torch.float64)

    def sample(self, n, seed=None):
        return torch.randn(n, 2, dtype=torch.float64)

    def initialize(self, x, weights, generator, redraw=True):
        pass

    def free_parameters(self):
        return 0

    def check(self):
        pass


def contract_only(columns):
    """A comparison of one fit of such a model to some rows of so many columns."""
    rows = Rows(torch.randn(50, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    bounds = torch.tensor([-2.0, -1.5], dtype=torch.float64)
    entry = Fit(Continuous(), EM(), bounds, torch.tensor([0.1, 0.2]).double(), True, "done", 0.2, 0, (), 0.0)
    scores = {
        "log_likelihood": float("nan"),
        "log_likelihood_error": 0.0,
        "nats_per_row": float("nan"),
        "held_out": float("nan"),
        "held_out_error": float("nan"),
        "elbo": -75.0,
        "gap": float("nan"),
        "log_prior": 0.0,
        "free_parameters": 0,
        "bic": float("nan"),
        "passes": 2,
        "seconds": 0.2,
        "converged": True,
        "reason": "done",
        "gradient_norm": 0.0,
    }
    pairs = pd.DataFrame(columns=["first", "second", "parameter_distance", "posterior_kl"])
    return Comparison(rows, {"vae": entry}, pd.DataFrame([scores], index=pd.Index(["vae"], name="fit")), pairs)

"""A table of all families: how to make one, parameters of three components, and what they mean, in scipy alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from scipy import stats
from scipy.special import logsumexp

from lowerbound.models import (
    Bernoulli,
    Categorical,
    Exponential,
    FamilyOf,
    Gamma,
    Gaussian,
    KMeans,
    Mixture,
    Multinomial,
    NegativeBinomial,
    Poisson,
    Product,
    StudentT,
)

WEIGHTS = np.array([0.5, 0.3, 0.2])


class Columns:
    """Independent columns of a scipy distribution: `make` takes parameters (..., d) to a `Law`."""

    def __init__(self, make):
        self.make = make

    def log_density(self, p, x):
        law = self.make({name: value[None] for name, value in p.items()})
        log = law.logpmf if isinstance(law.distribution, stats.rv_discrete) else law.logpdf
        return log(x[:, None]).sum(-1)

    def draw(self, p, z, rng):
        return self.make({name: value[z] for name, value in p.items()}).rvs(random_state=rng).astype(float)

    def moments(self, p):
        law = self.make(p)
        return law.mean(), np.stack([np.diag(v) for v in law.var()])


class Codes:
    """Independent columns of codes: probs (k, d, levels)."""

    def log_density(self, p, x):
        with np.errstate(divide="ignore"):
            return np.log(p["probs"][:, np.arange(x.shape[1]), x.astype(int)]).sum(-1).T

    def draw(self, p, z, rng):
        return np.stack([[rng.choice(len(q), p=q) for q in p["probs"][j]] for j in z]).astype(float)

    def moments(self, p):
        codes = np.arange(p["probs"].shape[-1])
        mean = p["probs"] @ codes
        return mean, np.stack([np.diag(v) for v in p["probs"] @ codes**2 - mean**2])


class Law:
    """A distribution of scipy at these parameters; scipy's own objects of this kind each write docstrings, slowly."""

    def __init__(self, distribution, *parameters, **named):
        self.distribution, self.parameters, self.named = distribution, parameters, named

    def __getattr__(self, name):
        method = getattr(self.distribution, name)
        return lambda *x, **others: method(*x, *self.parameters, **self.named, **others)


class Counts:
    """Multinomial rows, of sums that differ: 5, 6, ..."""

    trials = 12  # of a row that the model draws

    def log_density(self, p, x):
        return np.stack([stats.multinomial.logpmf(x, x.sum(1).astype(int), q) for q in p["probs"]], -1)

    def draw(self, p, z, rng):
        return np.stack([rng.multinomial(5 + i % 17, p["probs"][j]) for i, j in enumerate(z)]).astype(float)

    def moments(self, p):
        each = [stats.multinomial(self.trials, q) for q in p["probs"]]
        return np.stack([self.trials * q for q in p["probs"]]), np.stack([e.cov() for e in each])


class Normal:
    """Multivariate normal (dof None) or t rows, from a factor (k, d, d), deviations (k, d) or one deviation ()."""

    def __init__(self, dof=None):
        self.dof = dof

    def each(self, p):
        k, d = p["loc"].shape
        if "scale_tril" in p:
            matrices = [f @ f.T for f in p["scale_tril"]]
        else:
            matrices = [np.diag(s**2) for s in np.broadcast_to(p["scale"], (k, d))]
        if "dof" not in p and self.dof is None:
            return [stats.multivariate_normal(m, c) for m, c in zip(p["loc"], matrices, strict=True)]
        dof = p.get("dof", self.dof)
        return [stats.multivariate_t(m, c, v) for m, c, v in zip(p["loc"], matrices, dof, strict=True)]

    def log_density(self, p, x):
        return np.stack([np.atleast_1d(each.logpdf(x)) for each in self.each(p)], -1)

    def draw(self, p, z, rng):
        each = self.each(p)
        return np.stack([each[j].rvs(random_state=rng) for j in z])

    def moments(self, p):
        if "scale_tril" in p:
            matrices = p["scale_tril"] @ np.swapaxes(p["scale_tril"], -1, -2)
        else:
            k, d = p["loc"].shape
            matrices = np.stack([np.diag(s**2) for s in np.broadcast_to(p["scale"], (k, d))])
        dof = p.get("dof", self.dof)
        return p["loc"], matrices if dof is None else matrices * (np.asarray(dof) / (np.asarray(dof) - 2))[
            :, None, None
        ]


class Together:
    """Groups of columns, each with a law of its own; their parameters are named parts.0.loc and so on."""

    def __init__(self, *groups):
        self.groups = groups

    def each(self, p):
        for i, (law, columns) in enumerate(self.groups):
            start = f"parts.{i}."
            yield law, {name.removeprefix(start): v for name, v in p.items() if name.startswith(start)}, columns

    def log_density(self, p, x):
        return sum(law.log_density(own, x[:, columns]) for law, own, columns in self.each(p))

    def draw(self, p, z, rng):
        x = np.empty((len(z), sum(len(columns) for _, columns in self.groups)))
        for law, own, columns in self.each(p):
            x[:, columns] = law.draw(own, z, rng)
        return x

    def moments(self, p):
        d = sum(len(columns) for _, columns in self.groups)
        mean, covariance = np.zeros((len(WEIGHTS), d)), np.zeros((len(WEIGHTS), d, d))
        for law, own, columns in self.each(p):
            mean[:, columns], covariance[np.ix_(range(len(WEIGHTS)), columns, columns)] = law.moments(own)
        return mean, covariance


@dataclass(frozen=True)
class Case:
    """One family: `make(k, **settings)`, parameters of three components by attribute, their law, how many are free."""

    make: Callable[..., Any]
    law: Any
    parameters: dict[str, np.ndarray]
    free: int
    exact: bool = True  # the M-step is the maximum of the expected log-likelihood
    hard: bool = False  # k-means: the likeliest component alone
    fixed: tuple = field(default=())  # parameters that are arguments, not fitted

    def model(self, k=3, prior=None, concentration=None):
        if self.hard:
            return self.make(k)
        return Mixture(self.make(k) if prior is None else self.make(k, prior=prior), concentration)

    def set(self, model, parameters=None, weights=WEIGHTS):
        """The model with these parameters, by default those of the table."""
        if not self.hard:
            model.weights = torch.as_tensor(weights)
        for name, value in (parameters or self.parameters).items():
            *path, last = name.split(".")
            setattr(reduce(getattr, path, model.family), last, torch.as_tensor(value))
        return model

    def read(self, model):
        """Its parameters as numpy, by name."""
        return {name: reduce(getattr, name.split("."), model.family).detach().numpy() for name in self.parameters}

    def log_joint(self, model, x, labels=None):
        """log p(x, z = k): (n, k), -inf where a label says otherwise."""
        with np.errstate(divide="ignore"):
            joint = self.law.log_density(self.read(model), x) + np.log(model.weights.detach().numpy())
        if labels is not None:
            joint = np.where((labels[:, None] < 0) | (labels[:, None] == np.arange(joint.shape[1])), joint, -np.inf)
        return joint

    def log_evidence(self, model, x, labels=None):
        """log p(x), (n,), by summing out z; for k-means, log p(x, z) at the nearest centre."""
        joint = self.log_joint(model, x, labels)
        return joint.max(1) if self.hard else logsumexp(joint, axis=1)

    def data(self, n=60, seed=0):
        """n rows of the three components in turn, and which those are."""
        z = np.arange(n) % 3
        return self.law.draw(self.parameters, z, np.random.default_rng(seed)), z


def _padded(*columns):
    """Probabilities (k, d, most levels) from one table (k, levels) for each column, 0 beyond its levels."""
    most = max(len(c[0]) for c in columns)
    return np.stack([np.pad(np.array(c), ((0, 0), (0, most - len(c[0])))) for c in columns], 1)


LOC = np.array([[0.0, 1.0], [6.0, -4.0], [-5.0, 7.0]])
TRIL = np.array([[[1.0, 0.0], [0.5, 0.8]], [[0.7, 0.0], [-0.3, 1.2]], [[1.5, 0.0], [0.2, 0.6]]])
DOF = np.array([4.5, 6.0, 8.0])
RATE = np.array([[1.0, 9.0], [6.0, 2.0], [15.0, 20.0]])
LEVELS = [2, 4, 3, 3]
CODES = _padded(
    [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]],
    [[0.7, 0.1, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.05, 0.05, 0.1, 0.8]],
    [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]],
    [[0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.1, 0.2, 0.7]],
)
WAITING = Columns(lambda p: Law(stats.expon, scale=1 / p["rate"]))
COUNTS = Columns(lambda p: Law(stats.poisson, p["rate"]))
TABLE = {
    "bernoulli": Case(
        lambda k, **s: Bernoulli(k, 5, **s),
        Columns(lambda p: Law(stats.bernoulli, p["probs"])),
        {"probs": np.array([[0.9, 0.8, 0.15, 0.1, 0.6], [0.2, 0.1, 0.9, 0.7, 0.3], [0.7, 0.15, 0.2, 0.85, 0.95]])},
        free=15,
    ),
    "categorical": Case(
        lambda k, **s: Categorical(k, LEVELS, **s), Codes(), {"probs": CODES}, free=3 * (1 + 3 + 2 + 2)
    ),
    "multinomial": Case(
        lambda k, **s: Multinomial(k, 4, Counts.trials, **s),
        Counts(),
        {"probs": np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.6, 0.1], [0.2, 0.1, 0.1, 0.6]])},
        free=9,
    ),
    "poisson": Case(lambda k, **s: Poisson(k, 2, **s), COUNTS, {"rate": RATE}, free=6),
    "exponential": Case(
        lambda k, **s: Exponential(k, 3, **s),
        WAITING,
        {"rate": np.array([[0.2, 50.0, 1.0], [20.0, 0.5, 8.0], [1.0, 0.1, 0.03]])},
        free=9,
    ),
    "gamma": Case(
        lambda k, **s: Gamma(k, 2, **s),
        Columns(lambda p: Law(stats.gamma, p["concentration"], scale=1 / p["rate"])),
        {
            "concentration": np.array([[2.0, 8.0], [20.0, 0.7], [6.0, 3.0]]),
            "rate": np.array([[1.0, 2.0], [0.5, 0.1], [0.1, 10.0]]),
        },
        free=12,
    ),
    "negative-binomial": Case(
        lambda k, **s: NegativeBinomial(k, 2, **s),
        Columns(lambda p: Law(stats.nbinom, p["concentration"], p["concentration"] / (p["concentration"] + p["mean"]))),
        {
            "mean": np.array([[3.0, 20.0], [40.0, 2.0], [150.0, 300.0]]),
            "concentration": np.array([[1.0, 5.0], [4.0, 0.8], [8.0, 3.0]]),
        },
        free=12,
        exact=False,
    ),
    "student": Case(
        lambda k, **s: StudentT(k, 2, **s),
        Normal(),
        {"loc": LOC, "scale_tril": TRIL, "dof": DOF},
        free=6 + 9 + 3,
        exact=False,
    ),
    "student-dof": Case(
        lambda k, **s: StudentT(k, 2, dof=DOF[:k], **s),
        Normal(DOF),
        {"loc": LOC, "scale_tril": TRIL},
        free=6 + 9,
        exact=False,
    ),
    "student-diag": Case(
        lambda k, **s: StudentT(k, 2, covariance="diag", **s),
        Normal(),
        {"loc": LOC, "scale": np.array([[1.0, 2.0], [0.5, 1.2], [1.4, 0.3]]), "dof": DOF},
        free=6 + 6 + 3,
        exact=False,
    ),
    "product": Case(
        lambda k: Product(Gaussian(k, 2), Poisson(k, 1), Categorical(k, [2, 3]), columns=[[3, 0], [1], [2, 4]]),
        Together((Normal(), [3, 0]), (COUNTS, [1]), (Codes(), [2, 4])),
        {
            "parts.0.loc": LOC,
            "parts.0.scale_tril": TRIL,
            "parts.1.rate": RATE[:, :1],
            "parts.2.probs": CODES[:, [0, 2], :3],
        },
        free=6 + 9 + 3 + 3 * (1 + 2),
    ),
    "weibull": Case(
        lambda k, **s: FamilyOf(dist.Weibull, k, 2, **s),
        Columns(lambda p: Law(stats.weibull_min, p["concentration"], scale=p["scale"])),
        {
            "scale": np.array([[1.0, 20.0], [9.0, 2.0], [40.0, 70.0]]),
            "concentration": np.array([[1.5, 3.0], [4.0, 0.9], [2.0, 6.0]]),
        },
        free=12,
        exact=False,
    ),
    "laplace": Case(
        lambda k, **s: FamilyOf(dist.Laplace, k, 2, **s),
        Columns(lambda p: Law(stats.laplace, p["loc"], p["scale"])),
        {"loc": LOC, "scale": np.array([[0.5, 1.0], [0.7, 0.3], [1.5, 0.9]])},
        free=12,
        exact=False,
    ),
    "kmeans": Case(
        lambda k: KMeans(k, 2), Normal(), {"loc": LOC, "scale": np.array(1.3)}, free=6 + 1, exact=False, hard=True
    ),
}

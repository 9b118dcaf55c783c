"""Conjugate posteriors as textbooks write them, in numpy and scipy: an oracle for Bayesian mixtures."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from scipy.special import betaln, digamma, gammaln, multigammaln

from lowerbound.models import (
    Bernoulli,
    Categorical,
    Exponential,
    Gaussian,
    Multinomial,
    NormalInverseWishart,
    Poisson,
    Product,
)


def tensor(value):
    return torch.as_tensor(value, dtype=torch.float64)


def log_dirichlet(alpha):
    """log of the normalizer of Dirichlets over the last axis, summed."""
    return (gammaln(alpha).sum(-1) - gammaln(alpha.sum(-1))).sum()


class Gammas:
    """rate ~ Gamma(a, b) of each column: of counts (Poisson) or of waiting times (Exponential)."""

    def __init__(self, a, b, counts):
        self.a, self.b, self.counts = np.asarray(a), np.asarray(b), counts

    def update(self, x, r):
        rows, sums = np.broadcast_to(r.sum(0)[:, None], (r.shape[1], x.shape[1])), r.T @ x
        a, b = (sums, rows) if self.counts else (rows, sums)
        return {"rate_concentration": self.a + a, "rate_rate": self.b + b}

    def log_z(self, h):
        return (gammaln(h["rate_concentration"]) - h["rate_concentration"] * np.log(h["rate_rate"])).sum()

    def carrier(self, x):
        return -gammaln(x + 1).sum() if self.counts else 0.0

    def expected(self, h, x):
        a, b, y = h["rate_concentration"], h["rate_rate"], x[:, None]
        log_rate = digamma(a) - np.log(b)
        return (y * log_rate - a / b - gammaln(y + 1) if self.counts else log_rate - y * a / b).sum(-1)


class Betas:
    """probs ~ Beta(a, b) of each column."""

    def __init__(self, a, b):
        self.a, self.b = np.asarray(a), np.asarray(b)

    def update(self, x, r):
        return {"probs_concentration1": self.a + r.T @ x, "probs_concentration0": self.b + r.T @ (1 - x)}

    def log_z(self, h):
        return betaln(h["probs_concentration1"], h["probs_concentration0"]).sum()

    def carrier(self, x):
        return 0.0

    def expected(self, h, x):
        a, b, y = h["probs_concentration1"], h["probs_concentration0"], x[:, None]
        return (y * digamma(a) + (1 - y) * digamma(b) - digamma(a + b)).sum(-1)


class Dirichlets:
    """probs ~ Dirichlet(alpha): of codes (alpha (levels,) for each column) or of rows of counts."""

    def __init__(self, alpha, codes):
        self.alpha, self.codes = np.asarray(alpha), codes

    def counts(self, x):
        return (x[..., None] == np.arange(len(self.alpha))).astype(float) if self.codes else x

    def update(self, x, r):
        return {"probs_concentration": self.alpha + np.tensordot(r.T, self.counts(x), 1)}

    def log_z(self, h):
        return log_dirichlet(h["probs_concentration"])

    def carrier(self, x):
        return 0.0 if self.codes else (gammaln(x.sum(-1) + 1) - gammaln(x + 1).sum(-1)).sum()

    def expected(self, h, x):
        alpha = h["probs_concentration"]
        logs = digamma(alpha) - digamma(alpha.sum(-1, keepdims=True))
        own = self.counts(x)
        if self.codes:
            return np.einsum("ndl,kdl->nk", own, logs)
        return own @ logs.T + (gammaln(x.sum(-1) + 1) - gammaln(x + 1).sum(-1))[:, None]


class NormalInverseWisharts:
    """loc | Sigma ~ N(m, Sigma / kappa), and Sigma ~ InverseWishart(dof, scale) or variances ~ InverseGamma(dof / 2,
    scale / 2). Murphy, Machine Learning (2012), 4.6.3; of tied members with one Sigma."""

    def __init__(self, m, kappa, dof, scale, covariance):
        self.m, self.kappa, self.dof, self.scale = np.asarray(m), kappa, dof, np.asarray(scale)
        self.tied, self.shape = covariance.startswith("tied"), covariance.removeprefix("tied-").replace("tied", "full")

    def update(self, x, r):
        n, d = r.sum(0), x.shape[1]
        kappa = self.kappa + n
        mean = (r.T @ x) / np.maximum(n, 1e-300)[:, None]
        m = (self.kappa * self.m + r.T @ x) / kappa[:, None]
        scatters = np.stack([(x - c).T * w @ (x - c) for c, w in zip(mean, r.T, strict=True)])
        away = mean - self.m
        scatters = scatters + (self.kappa * n / kappa)[:, None, None] * away[:, :, None] * away[:, None, :]
        if self.shape == "diag":
            scatters = np.diagonal(scatters, axis1=-2, axis2=-1)
        if self.shape == "spherical":
            scatters, n = np.trace(scatters, axis1=-2, axis2=-1), n * d
        if self.tied:
            scatters, n = scatters.sum(0), n.sum()
        return {"m": m, "kappa": kappa, "dof": self.dof + n, "scale": self.scale + scatters}

    def log_z(self, h):
        """Normalizer of q(loc, Sigma), without the 2 pi of loc that prior and posterior have in common."""
        d, half = h["m"].shape[1], 0.5 * np.asarray(h["dof"])
        location = -0.5 * d * np.log(h["kappa"]).sum()
        if self.shape == "full":
            log_det = np.linalg.slogdet(h["scale"])[1]
            return location + (multigammaln_(half, d) + half * (d * np.log(2) - log_det)).sum()
        half = half[..., None] if self.shape == "diag" else half
        return location + (gammaln(half) - half * np.log(0.5 * h["scale"])).sum()

    def carrier(self, x):
        return -0.5 * x.size * np.log(2 * np.pi)

    def expected(self, h, x):
        d, k = x.shape[1], len(h["m"])
        dof = np.broadcast_to(h["dof"], k)
        scale = np.broadcast_to(h["scale"], (k, *np.shape(h["scale"])[0 if self.tied else 1 :]))
        y = x[:, None] - h["m"]
        if self.shape == "full":
            log_det = digamma(0.5 * (dof[:, None] - np.arange(d))).sum(-1) + d * np.log(2) - np.linalg.slogdet(scale)[1]
            squared = dof * np.einsum("nki,kij,nkj->nk", y, np.linalg.inv(scale), y)
        else:
            scale = np.broadcast_to(scale if self.shape == "diag" else scale[:, None], (k, d))
            log_det = (digamma(0.5 * dof)[:, None] - np.log(0.5 * scale)).sum(-1)
            squared = (dof[:, None] / scale * y**2).sum(-1)
        return 0.5 * (log_det - d * np.log(2 * np.pi) - d / h["kappa"] - squared)


def multigammaln_(a, d):
    return np.vectorize(lambda value: multigammaln(value, d))(a)


class Groups:
    """Several of them, for groups of columns."""

    def __init__(self, *groups):
        self.groups = groups

    def update(self, x, r):
        return {g: part.update(x[:, columns], r) for g, (part, columns) in enumerate(self.groups)}

    def log_z(self, h):
        return sum(part.log_z(h[g]) for g, (part, _) in enumerate(self.groups))

    def carrier(self, x):
        return sum(part.carrier(x[:, columns]) for part, columns in self.groups)

    def expected(self, h, x):
        return sum(part.expected(h[g], x[:, columns]) for g, (part, columns) in enumerate(self.groups))


@dataclass(frozen=True)
class Case:
    """One family, its prior for us, the same for the oracle, and rows: of two groups in turn."""

    family: Any  # of k members
    prior: Any
    oracle: Any
    draw: Any  # rng -> (n, d)

    def rows(self, n=24, seed=0):
        return self.draw(np.random.default_rng(seed), n)

    def log_evidence(self, x, z, k):
        """log p(x | z), parameters integrated out."""
        r = np.eye(k)[z]
        before, after = self.oracle.update(x, np.zeros_like(r)), self.oracle.update(x, r)
        return self.oracle.log_z(after) - self.oracle.log_z(before) + self.oracle.carrier(x)


def hyperparameters(beliefs):
    """Those of a fitted posterior, as the oracle calls them."""
    if hasattr(beliefs, "parts"):
        return {g: hyperparameters(part) for g, part in enumerate(beliefs.parts)}
    if not hasattr(beliefs, "location_weight"):
        own = [name.removesuffix("_unconstrained") for name, _ in beliefs.named_parameters()]
        return {name: getattr(beliefs, name).detach().numpy() for name in own}
    made, dof = beliefs.likelihood, beliefs.dof.detach().numpy()
    scale = getattr(made, made.shape.name).detach().numpy()
    if made.shape.scale_dims == 2:
        scale = dof[..., None, None] * scale @ np.swapaxes(scale, -1, -2)
    else:
        scale = (dof[..., None] if made.shape.scale_dims == 1 else dof) * scale**2
    kappa = beliefs.location_weight.detach().numpy()
    return {"m": made.loc.detach().numpy(), "kappa": kappa, "dof": dof, "scale": scale}


def close(found, wanted, **tolerance):
    """Both dictionaries say the same."""
    for name, value in wanted.items():
        if isinstance(value, dict):
            close(found[name], value, **tolerance)
        else:
            np.testing.assert_allclose(np.reshape(found[name], np.shape(value)), value, **tolerance)


def _gaussian(covariance, scale):
    prior = NormalInverseWishart([0.5, 1.0], 0.7, 3.5, scale)
    return Case(
        lambda k: Gaussian(k, 2, covariance),
        prior,
        NormalInverseWisharts([0.5, 1.0], 0.7, 3.5, scale, covariance),
        lambda rng, n: rng.normal(size=(n, 2)) @ [[1.0, 0.4], [0.0, 0.7]] + 3 * (np.arange(n) % 2)[:, None],
    )


def _counts(rng, n, d=2):
    return rng.poisson(np.where(np.arange(n)[:, None] % 2, 2.0, 9.0), (n, d)).astype(float)


def _codes(rng, n, levels):
    return np.stack([rng.integers(0, level, n) for level in levels], 1).astype(float)


MATRIX, ALPHA = [[2.0, 0.3], [0.3, 1.0]], [0.5, 0.6, 0.7]
CASES = {
    "poisson": Case(
        lambda k: Poisson(k, 2),
        dist.Gamma(tensor([2.0, 0.5]), tensor([0.5, 0.1])),
        Gammas([2, 0.5], [0.5, 0.1], True),
        _counts,
    ),
    "exponential": Case(
        lambda k: Exponential(k, 2),
        dist.Gamma(tensor(0.5), tensor(0.3)),
        Gammas(0.5, 0.3, False),
        lambda rng, n: rng.exponential(np.where(np.arange(n)[:, None] % 2, 1.0, 8.0), (n, 2)),
    ),
    "bernoulli": Case(
        lambda k: Bernoulli(k, 3),
        dist.Beta(tensor(0.5), tensor(0.7)),
        Betas(0.5, 0.7),
        lambda rng, n: (rng.random((n, 3)) < np.where(np.arange(n)[:, None] % 2, 0.2, 0.8)).astype(float),
    ),
    "categorical": Case(
        lambda k: Categorical(k, [3, 3]),
        dist.Dirichlet(tensor(ALPHA)),
        Dirichlets(ALPHA, True),
        lambda rng, n: _codes(rng, n, [3, 3]),
    ),
    "ragged": Case(
        lambda k: Categorical(k, [3, 2]),
        dist.Dirichlet(tensor(ALPHA)),
        Groups((Dirichlets(ALPHA, True), [0]), (Dirichlets(ALPHA[:2], True), [1])),
        lambda rng, n: _codes(rng, n, [3, 2]),
    ),
    "multinomial": Case(
        lambda k: Multinomial(k, 3),
        dist.Dirichlet(tensor(ALPHA)),
        Dirichlets(ALPHA, False),
        lambda rng, n: _counts(rng, n, 3),
    ),
    "full": _gaussian("full", MATRIX),
    "tied": _gaussian("tied", MATRIX),
    "diag": _gaussian("diag", [2.0, 0.4]),
    "tied-diag": _gaussian("tied-diag", [2.0, 0.4]),
    "spherical": _gaussian("spherical", 1.5),
    "tied-spherical": _gaussian("tied-spherical", 1.5),
    "product": Case(
        lambda k: Product(Gaussian(k, 2), Poisson(k, 1), Categorical(k, [3]), columns=[[2, 0], [1], [3]]),
        [
            NormalInverseWishart([0.5, 1.0], 0.7, 3.5, MATRIX),
            dist.Gamma(tensor(2.0), tensor(0.5)),
            dist.Dirichlet(tensor(ALPHA)),
        ],
        Groups(
            (NormalInverseWisharts([0.5, 1.0], 0.7, 3.5, MATRIX, "full"), [2, 0]),
            (Gammas(2.0, 0.5, True), [1]),
            (Dirichlets(ALPHA, True), [3]),
        ),
        lambda rng, n: np.column_stack(
            [rng.normal(size=n), _counts(rng, n, 1), rng.normal(size=n), _codes(rng, n, [3])]
        ),
    ),
}

# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From EM to the whole posterior
#
# EM gives one value of $\theta$. Bayesian inference gives a distribution over $\theta$, the posterior. The step from
# one to the other is small: treat $\theta$ as one more latent variable. The ELBO of the lecture notes, its E-step and
# its M-step keep their form.
#
# 1. From a point to a distribution
# 2. Conjugacy: the posterior is the prior plus statistics
# 3. Variational Bayes in thirty lines
# 4. Three ways up one hill: EM, gradients, natural gradients
# 5. The reference: NUTS
# 6. Where variational Bayes is too sure of itself
# 7. ArviZ
# 8. How many components?
# 9. What to use when; exercises; references
#
# It runs in about a minute and a half on a laptop. `NUTS` takes fewer draws here than by default (4 chains of 500).

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro.distributions as dist
import torch
from IPython.display import display
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal
from scipy import stats
from scipy.special import digamma, gammaln, logsumexp, multigammaln

from lowerbound import datasets
from lowerbound.inference import (
    EM,
    NUTS,
    SVI,
    OnlineEM,
    align,
    compare,
    fit,
    reliability,
    select,
    standard_errors,
    to_arviz,
)
from lowerbound.inference.engines.relabel import relabel
from lowerbound.models import BayesianMixture, Gaussian, GaussianMixture, NormalInverseWishart, Poisson, seed

torch.set_default_dtype(torch.float64)  # everything here is in double precision

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#767676"  # Okabe & Ito, and a grey
plt.rcParams.update({"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "font.size": 12})
plt.rcParams.update({"lines.linewidth": 2, "legend.frameon": False, "figure.constrained_layout.use": True})

faithful = datasets.load("faithful")
x = faithful.to_numpy()
N, D = x.shape

# %% [markdown]
# ## 1. From a point to a distribution
#
# The notes bound $\log p(X \mid \theta)$ at one $\theta$:
# $\mathcal L(q, \theta) = \mathbb E_{q(Z)}[\log p(X, Z \mid \theta) - \log q(Z)]$. Give $\theta$ a prior $p(\theta)$,
# and a $q(\theta)$ besides $q(Z)$. The same two lines of algebra give a lower bound of the **log evidence**, which does
# not depend on any value of $\theta$:
#
# $$\log p(X) = \log \int p(X \mid \theta)\, p(\theta)\, d\theta \;\ge\;
# \mathbb E_{q(Z)\, q(\theta)}\big[\log p(X, Z \mid \theta) - \log q(Z)\big] -
# \mathrm{KL}\big(q(\theta) \,\|\, p(\theta)\big).$$
#
# The difference between the two sides is $\mathrm{KL}(q(Z)\, q(\theta) \,\|\, p(Z, \theta \mid X))$. At the best $q(Z)$
# the bound of a mixture is
#
# $$\mathcal L = \sum_i \log \sum_k \exp\big(\mathbb E[\log \pi_k] + \mathbb E[\log p(x_i \mid \theta_k)]\big) -
# \mathrm{KL}\big(q(\theta) \,\|\, p(\theta)\big),$$
#
# This is the log-likelihood that EM maximizes, with expectations of the logarithms in place of their values, minus the
# KL from $q(\theta)$ to the prior. `BayesianMixture(family)` is a mixture with such a $q(\theta)$ in place of the
# parameters of a `GaussianMixture`.
#
# Let $q(\theta)$ be a point mass, Pyro's `AutoDelta`. Then the expectations are values again, and the algorithm is EM
# with $\log p(\theta)$ added to the objective (maximum a posteriori estimation). The next cell checks this.

# %%
prior = NormalInverseWishart(x.mean(0), 0.01, D + 2.0, np.cov(x.T, ddof=0))
delta = fit(BayesianMixture(Gaussian(2, 2), prior, guide=AutoDelta), faithful, EM())
penalised = fit(GaussianMixture(2, 2, prior=prior), faithful, EM())
point_error = float(abs(delta.bounds[-1] - penalised.bounds[-1]))
assert point_error < 1e-8
print(f"q a point: {delta.bounds[-1]:.9f}, EM with the same prior: {penalised.bounds[-1]:.9f} nats per row")

# %% [markdown]
# ## 2. Conjugacy: the posterior is the prior plus statistics
#
# A prior is **conjugate** if the posterior belongs to the same family of distributions. Counts are the simplest
# example: with $x_i \sim \mathrm{Poisson}(\lambda)$ and $\lambda \sim \mathrm{Gamma}(a, b)$,
#
# $$p(\lambda \mid X) \propto \lambda^{a - 1} e^{-b \lambda} \prod_i \lambda^{x_i} e^{-\lambda}
# \quad\Longrightarrow\quad \lambda \mid X \sim \mathrm{Gamma}\Big(a + \sum_i x_i,\; b + N\Big).$$
#
# The hyperparameters of the posterior are those of the prior plus the same sums that an M-step uses (the sufficient
# statistics). The data here are the deaths announced in the *Times* on 1096 days, with one component.

# %%
deaths = datasets.load("deaths")
counts = deaths.to_numpy()[:, 0]
shuffled = np.random.default_rng(0).permutation(counts)  # the file is sorted
a, b = 2.0, 1.0

fig, ax = plt.subplots(figsize=(8, 3.4))
rates = np.linspace(0.01, 6, 1500)
for n, colour in ((0, GREY), (3, GREEN), (30, ORANGE), (1096, BLUE)):
    posterior = stats.gamma(a + shuffled[:n].sum(), scale=1 / (b + n))
    height = posterior.pdf(rates) / posterior.pdf(rates).max()
    ax.plot(rates, height, color=colour, label=f"after {n} days" if n else "prior")
ax.set(xlabel="deaths per day, $\\lambda$", yticks=[], ylim=(0, 1.1), title="the posterior sharpens as counts add up")
ax.spines["left"].set_visible(False)
ax.legend()
plt.show()

# %% [markdown]
# (Each curve is scaled to the same height.) With one component $Z$ is known. So the $q$ of the bound can be the
# posterior itself, and the bound **is** the log evidence. We compute the same number in two other ways. One is the
# formula with the normalizers of the two gamma distributions. The other uses scipy: predict each row from all rows
# before it, $p(X) = \prod_i p(x_i \mid x_1, \ldots, x_{i-1})$, where each factor is negative binomial.

# %%
one = fit(BayesianMixture(Poisson(1, 1), prior=dist.Gamma(a, b)), deaths, EM())
by_formula = (
    a * np.log(b)
    - gammaln(a)
    + gammaln(a + counts.sum())
    - (a + counts.sum()) * np.log(b + len(counts))
    - gammaln(counts + 1).sum()
)
seen, before = np.arange(len(counts)), np.append(0, counts.cumsum()[:-1])
by_scipy = stats.nbinom.logpmf(counts, a + before, (b + seen) / (b + seen + 1)).sum()
by_bound = float(len(counts) * one.bounds[-1])
poisson_error = max(abs(by_bound - by_formula), abs(by_bound - by_scipy))
assert poisson_error < 1e-6
print(f"log p(X): bound {by_bound:.6f}, formula {by_formula:.6f}, scipy {by_scipy:.6f} nats")

# %% [markdown]
# For a Gaussian the conjugate prior is the **normal-inverse-Wishart**: $\Sigma \sim \mathrm{IW}(\nu_0, S_0)$ and
# $\mu \mid \Sigma \sim \mathcal N(m_0, \Sigma / \kappa_0)$. The prior on $\mu$ carries as much information as
# $\kappa_0$ rows with mean $m_0$. With $n$ rows of mean $\bar x$ and scatter $S = \sum_i (x_i - \bar x)(x_i - \bar
# x)^\top$ the posterior is
#
# $$\kappa = \kappa_0 + n, \quad \nu = \nu_0 + n, \quad m = \frac{\kappa_0 m_0 + n \bar x}{\kappa}, \quad
# S_n = S_0 + S + \frac{\kappa_0 n}{\kappa} (\bar x - m_0)(\bar x - m_0)^\top.$$

# %%
m0, kappa0, nu0, S0 = x.mean(0), 0.01, D + 2.0, np.cov(x.T, ddof=0)
prior = NormalInverseWishart(m0, kappa0, nu0, S0)  # the default, "weak", is this one


def posterior_of(n, mean, scatter):
    """m, kappa, nu and S of the normal-inverse-Wishart posterior: prior + statistics."""
    kappa = kappa0 + n
    away = mean - m0
    return (kappa0 * m0 + n * mean) / kappa, kappa, nu0 + n, S0 + scatter + kappa0 * n / kappa * np.outer(away, away)


def log_evidence_of(n, mean, scatter):
    """log p(X), both parameters integrated out: normalizer of the posterior over that of the prior."""
    _, kappa, nu, S = posterior_of(n, mean, scatter)
    return (
        multigammaln(nu / 2, D)
        - multigammaln(nu0 / 2, D)
        + nu0 / 2 * np.linalg.slogdet(S0)[1]
        - nu / 2 * np.linalg.slogdet(S)[1]
        + D / 2 * np.log(kappa0 / kappa)
        - n * D / 2 * np.log(np.pi)
    )


whole = log_evidence_of(N, x.mean(0), N * np.cov(x.T, ddof=0))
foretold = 0.0
for i in range(N):  # by scipy: each row predicted from those before it, a multivariate t
    rows = x[:i]
    centre = rows.mean(0) if i else m0
    m, kappa, nu, S = posterior_of(i, centre, (rows - centre).T @ (rows - centre))
    free = nu - D + 1
    foretold += stats.multivariate_t.logpdf(x[i], m, S * (kappa + 1) / (kappa * free), free)
single = fit(BayesianMixture(Gaussian(1, 2), prior), faithful, EM())
gaussian_error = max(abs(N * float(single.bounds[-1]) - whole), abs(foretold - whole))
assert gaussian_error < 1e-6
print(f"log p(X): bound {N * single.bounds[-1]:.6f}, formula {whole:.6f}, scipy {foretold:.6f} nats")

# %% [markdown]
# ## 3. Variational Bayes in thirty lines
#
# With two components $Z$ is unknown, and the joint posterior of $Z$ and $\theta$ has no closed form. The only
# approximation that we make is **mean field**: $q(Z, \theta) = q(Z)\, q(\theta)$. Maximize the bound over each factor
# in turn (Attias 1999; Bishop 10.2):
#
# * **E-step**: $r_{ik} \propto \exp(\mathbb E[\log \pi_k] + \mathbb E[\log p(x_i \mid \theta_k)])$: as in EM, but with
#   expectations in place of values. With $\pi \sim \mathrm{Dirichlet}(\alpha)$ these are $\psi(\alpha_k) -
#   \psi(\sum_j \alpha_j)$ and
#   $$\mathbb E[\log \mathcal N(x \mid \mu, \Sigma)] = \tfrac12 \Big( \sum_{j=0}^{D-1} \psi\big(\tfrac{\nu - j}{2}\big)
#   + D \log 2 - \log |S| - D \log 2\pi - \tfrac{D}{\kappa} - \nu (x - m)^\top S^{-1} (x - m) \Big);$$
# * **M-step**: hyperparameters = prior + statistics, as in section 2, but each row has the weight $r_{ik}$.
#
# The KL of the bound needs no further integrals. $q(\theta)$ is the prior times $\exp(\sum r_{ik} \log p)$, divided by
# its normalizer. So $-\mathrm{KL}(q \,\|\, p)$ is the log evidence of the rows weighted by $r_{ik}$, minus $\sum_{ik}
# r_{ik} \mathbb E[\log \pi_k + \log p(x_i \mid \theta_k)]$.

# %%
ALPHA0 = 1.0


def by_hand(r, passes):
    """Variational Bayes from responsibilities (N, K); the bound after each pass in nats, and the hyperparameters."""
    bounds = []
    for _ in range(passes):
        # M-step: prior + statistics, and the log evidence of the rows weighted by r
        n = r.sum(0)
        alpha = ALPHA0 + n
        means = (r.T @ x) / n[:, None]
        scatters = [(r[:, k, None] * (x - means[k])).T @ (x - means[k]) for k in range(len(n))]
        hyper = [posterior_of(*sums) for sums in zip(n, means, scatters, strict=True)]
        soft = sum(log_evidence_of(*sums) for sums in zip(n, means, scatters, strict=True))
        soft += gammaln(alpha).sum() - gammaln(alpha.sum()) - len(n) * gammaln(ALPHA0) + gammaln(len(n) * ALPHA0)
        # E-step: expectations of logarithms
        log_rho = np.empty_like(r)
        for k, (m, kappa, nu, S) in enumerate(hyper):
            squared = ((x - m) @ np.linalg.inv(S) * (x - m)).sum(1)
            log_det = digamma((nu - np.arange(D)) / 2).sum() + D * np.log(2) - np.linalg.slogdet(S)[1]
            log_rho[:, k] = 0.5 * (log_det - D * np.log(2 * np.pi) - D / kappa - nu * squared)
        log_rho += digamma(alpha) - digamma(alpha.sum())
        minus_kl = soft - (r * log_rho).sum()
        bounds.append(logsumexp(log_rho, axis=1).sum() + minus_kl)
        r = np.exp(log_rho - logsumexp(log_rho, axis=1, keepdims=True))
    return np.array(bounds), alpha, hyper


start = seed(BayesianMixture(Gaussian(2, 2), prior), faithful)
vb = fit(start, faithful, EM())
hand, alpha, hyper = by_hand(start.posterior(faithful).probs.numpy(), len(vb.bounds) - 1)

found = vb.model
scale = found.beliefs.likelihood.scale_tril.detach()  # E[precision]^-1 = scale scale' = S / nu
theirs = {
    "alpha": found.shares.concentration.detach().numpy(),
    "m": found.beliefs.likelihood.loc.detach().numpy(),
    "kappa": found.beliefs.location_weight.detach().numpy(),
    "nu": found.beliefs.dof.detach().numpy(),
    "S": (found.beliefs.dof.detach()[:, None, None] * scale @ scale.mT).numpy(),
}
ours = {"alpha": alpha} | {
    name: np.array(each) for name, each in zip(("m", "kappa", "nu", "S"), zip(*hyper, strict=True), strict=True)
}
largest_difference = max(float(np.abs(ours[name] / theirs[name] - 1).max()) for name in ours)
bound_difference = float(np.abs(hand - N * vb.bounds[1:].numpy()).max())
assert largest_difference < 1e-9 and bound_difference < 1e-6
print(f"{len(hand)} passes, bound {hand[-1]:.6f} nats; by hand and by fit, the bounds differ by {bound_difference:.0e}")
print(f"nats, the hyperparameters by {largest_difference:.0e} of themselves, at most")
found.summary().round(3)

# %% [markdown]
# The engine is `EM()`, the same as for maximum likelihood. It calls the model's E-step and M-step. It makes no
# difference to the engine that the M-step now updates hyperparameters.
#
# ## 4. Three ways up one hill: EM, gradients, natural gradients
#
# The bound is a function of the hyperparameters, so any optimizer can maximize it:
#
# * `EM()`: both steps in closed form;
# * `SVI("exact")`: Adam with plain gradients of all hyperparameters at once. (`SVI()` estimates these gradients by
#   draws, with Pyro's `Trace_ELBO`, for models without closed forms);
# * `OnlineEM(batch_size=32)`: after each batch the hyperparameters move a step towards *prior + statistics of the
#   batch, scaled up to all rows*. This is a **natural** gradient step, as in the stochastic variational inference of
#   Hoffman et al. (2013).

# %%
svi = fit(start, faithful, SVI("exact", tol=1e-9), max_passes=1000)
online = fit(start, faithful, OnlineEM(batch_size=32, tol=0.0), max_passes=300)
top = float(vb.bounds.max())
ends = [N * float(f.bounds[-1]) for f in (vb, svi, online)]
assert max(ends) - min(ends) < 1e-2

fig, ax = plt.subplots(figsize=(8, 3.8))
for f, colour, name, at in (
    (vb, BLUE, "EM", (3.4, 1e-4)),
    (online, GREEN, "OnlineEM:\nnatural gradients", (14, 1e-3)),
    (svi, ORANGE, "SVI: gradients", (60, 3.0)),
):
    short = N * (top - f.bounds.numpy())
    ax.loglog(range(1, len(short) + 1), np.where(short > 1e-7, short, np.nan), color=colour)
    ax.text(*at, name, color=colour)
ax.set(xlabel="passes over the rows", ylabel="nats below the top", title="three ways up the same bound")
plt.show()
print("ends, nats:", ", ".join(f"{end:.4f}" for end in ends))

# %% [markdown]
# ## 5. The reference: NUTS
#
# Mean field assumes that $Z$ and $\theta$ are independent in the posterior, which is not true. How much does it matter?
# `NUTS` (Hoffman & Gelman 2014) draws from the exact posterior, with $Z$ summed out. It is slow. Its draws can be
# trusted if its chains agree: R-hat is near 1.

# %%
em = fit(GaussianMixture(2, 2), faithful, EM(tol=1e-12), restarts=5)
em.model.permute(em.model.family.loc[:, 0].argsort())  # short eruptions first
nuts = fit(BayesianMixture(Gaussian(2, 2), prior), faithful, NUTS(draws=250, warmup=200, chains=2))
assert nuts.converged
for f in (vb, svi, nuts):
    f.model.permute(align(em.model, f.model, faithful))
print(nuts.reason)

# %% [markdown]
# **Label switching.** Exchanging the labels of the components does not change the likelihood. So the posterior of $K$
# components has $K!$ copies of every mode, and each chain may be in any of them. Averages over such draws have no
# meaning. In the next cell we switch the labels of a random half of the draws and check that their log density stays
# the same. Then we undo the switch, as `NUTS` does by default: each draw gets the labels for which its responsibilities
# agree best with those of all the other draws (Stephens 2000).

# %%
theta = nuts.model.draw(400, seed=1)
coin = torch.rand(400, generator=torch.Generator().manual_seed(0)) < 0.5
order = torch.where(coin[:, None], torch.tensor([1, 0]), torch.tensor([0, 1]))
each = torch.arange(400)[:, None]
switched = {name: value[each, order] for name, value in theta.items()}


def log_joint(theta):
    """log p(X, theta) of each draw."""
    return nuts.model.log_likelihood(theta, faithful).sum(1) + nuts.model.log_prior(theta)


switch_error = float((log_joint(switched) - log_joint(theta)).abs().max())
assert switch_error < 1e-8

mixtures = [nuts.model.mixture({name: value[i] for name, value in switched.items()}) for i in range(400)]
undo = relabel(torch.stack([mixture.posterior(faithful).probs for mixture in mixtures]))
undone = {name: value[each, undo] for name, value in switched.items()}
undone_wrong = int((undone["loc"] != theta["loc"]).any(-1).any(-1).sum()) % 400  # 0 or all: labels are arbitrary
assert undone_wrong == 0

fig, axes = plt.subplots(1, 2, figsize=(9.5, 3), sharex=True, sharey=True)
for ax, draws, title in zip(axes, (switched, undone), ("labels as they may fall", "relabelled"), strict=True):
    for k, colour in enumerate((BLUE, ORANGE)):
        ax.hist(draws["loc"][:, k, 1], bins=np.linspace(50, 84, 69), color=colour, alpha=0.6, label=f"component {k}")
    ax.set(xlabel="mean wait of a component, minutes", yticks=[], title=title)
axes[0].legend(loc="upper center")
plt.show()

# %% [markdown]
# Now we compare intervals. EM gives a point estimate, and standard errors from the curvature at it (tutorial 04).
# Variational Bayes and NUTS give draws.

# %%
parameters = {"weight of long": lambda t: t["weights"][:, 1]}
for k, group in enumerate(("short", "long")):
    for j, column in enumerate(("eruption", "wait")):
        parameters[f"mean {column}, {group}"] = lambda t, k=k, j=j: t["loc"][:, k, j]
        parameters[f"s.d. of {column}, {group}"] = lambda t, k=k, j=j: t["covariance"][:, k, j, j].sqrt()

errors = standard_errors(em, faithful, of={"sd": lambda m: m.family.scale_tril.square().sum(-1).sqrt()})
est, se = errors.estimates, errors.errors
by_em = {"weight of long": (est["weights"][1], se["weights"][1])}
for k, group in enumerate(("short", "long")):
    for j, column in enumerate(("eruption", "wait")):
        by_em[f"mean {column}, {group}"] = (est["family.loc"][k, j], se["family.loc"][k, j])
        by_em[f"s.d. of {column}, {group}"] = (est["sd"][k, j], se["sd"][k, j])

draws = {"VB": vb.model.draw(4000, seed=0), "NUTS": nuts.model.q.theta}
names = [n for start_ in ("weight", "mean", "s.d.") for n in parameters if n.startswith(start_)]
fig, ax = plt.subplots(figsize=(9, 5))
for row, name in enumerate(names):
    reference = parameters[name](draws["NUTS"]).numpy()
    centre, unit = reference.mean(), reference.std()
    middle, spread = (float(value) for value in by_em[name])
    lines = {"EM, 1.96 s.e.": ((middle - 1.96 * spread, middle, middle + 1.96 * spread), GREY, -0.25)}
    for label, colour, up in (("VB", BLUE, 0.0), ("NUTS", ORANGE, 0.25)):
        lines[label] = (np.quantile(parameters[name](draws[label]).numpy(), [0.025, 0.5, 0.975]), colour, up)
    for label, (ends_, colour, up) in lines.items():
        low, mid, high = (np.asarray(ends_) - centre) / unit
        ax.plot([low, high], [row + up] * 2, color=colour, linewidth=3, label=label if row == 0 else None)
        ax.plot(mid, row + up, "o", color=colour, markersize=6)
ax.set_yticks(range(len(names)), names)
ax.set(xlabel="posterior standard deviations from NUTS's mean", xlim=(-3.5, 3))
ax.set_title("Old Faithful: 95 % intervals agree, nearly")
ax.invert_yaxis()
ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14), ncol=3)
plt.show()

# %% [markdown]
# The intervals agree, because the groups are far apart: the group is uncertain for only a few rows, so $Z$ and $\theta$
# are nearly independent in the posterior. `compare` puts all results into one table.

# %%
sure = float((vb.model.posterior(faithful).probs.amax(1) > 0.99).double().mean())
assert sure > 0.9
print(f"{100 * sure:.0f} % of the rows have a responsibility above 0.99\n")
comparison = compare(faithful, em=em, vb=vb, svi=svi, nuts=nuts)
print(comparison)

# %% [markdown]
# These rows of the table are new:
#
# * **bound of log evidence**: $\mathcal L$ of section 1, a lower bound of $\log p(X)$ in nats. For NUTS it is the bound
#   of the Gaussian with the mean and covariance of its draws. $q$ covers only *one* of the $2! = 2$ labellings of the
#   posterior, so the row adds $\log 2$ to count both;
# * **log evidence**: an estimate of $\log p(X)$ itself, again for all labellings, by importance sampling from $q$:
#   draws of $\theta$ are weighted by $p(X, \theta) / q(\theta)$;
# * **Pareto k**: how heavy the tail of these weights is. It says whether the estimate is reliable (Yao et al. 2018):
#   below 0.5 $q$ is close to the posterior, above 0.7 the estimate cannot be trusted. $k$ is itself an estimate. From
#   the 2000 draws that `compare` takes it is noisy;
# * **s.d. of theta / sampler's**: 1 if $q$ is as wide as the posterior, below 1 if $q$ is too narrow;
# * **log prior or -KL of theta**: for a $q$ it is $-\mathrm{KL}(q(\theta) \,\|\, p(\theta))$. The **log-likelihood** is
#   that of the posterior predictive density. EM has the highest, because it maximizes nothing else.
#
# How noisy is $k$? The next cell estimates it from 1000 draws with four seeds, and then from 4000 draws:

# %%
checked = reliability(vb, faithful, draws=4000)
scores = comparison.frame()
noisy = [round(reliability(vb, faithful, seed=s).pareto_k, 2) for s in range(4)]
assert checked.pareto_k < 0.5 and sorted(noisy)[2] < 0.7 and 0.9 < scores.loc["vb", "sd_ratio"] < 1
assert scores.loc["vb", "bound"] < checked.log_evidence
print("Pareto k by 1000 draws, four seeds:", *noisy)
print(checked)

# %% [markdown]
# ## 6. Where variational Bayes is too sure of itself
#
# Now take two components that overlap: 300 counts, half of them from Poisson(2) and half from Poisson(6). The component
# of a count of 4 is uncertain. The model has only three parameters, so we can integrate over a grid. This gives an
# exact reference for all methods, including NUTS.

# %%
rng = np.random.default_rng(0)
y = rng.poisson(np.where(rng.random(300) < 0.5, 2.0, 6.0))
shape, rate = 2.0, 1 / 3
overlapping = pd.DataFrame({"count": y})


def model(guide=None):
    return BayesianMixture(Poisson(2, 1), prior=dist.Gamma(shape, rate), guide=guide)


# log p(X, theta) on a grid of: weight of the first, its rate, the rate of the second
share = (np.arange(80) + 0.5) / 80
lam = np.linspace(0.3, 12, 160)
values, times = np.unique(y, return_counts=True)
mass = stats.poisson.pmf(values, lam[:, None])
log_prior = stats.gamma.logpdf(lam, shape, scale=1 / rate)
on_grid = np.stack([np.log(w * mass[:, None] + (1 - w) * mass[None]) @ times for w in share])
on_grid += log_prior[:, None] + log_prior[None]
exact_evidence = logsumexp(on_grid) + 2 * np.log(lam[1] - lam[0]) - np.log(len(share))
density = np.exp(on_grid - on_grid.max()) * (lam[:, None] < lam[None])  # one of the two labellings
density /= density.sum()


def moments(values, weights):
    mean = values @ weights
    return mean, np.sqrt((values - mean) ** 2 @ weights)


exact = {
    "weight of low": moments(share, density.sum((1, 2))),
    "low rate": moments(lam, density.sum((0, 2))),
    "high rate": moments(lam, density.sum((0, 1))),
}

# %% [markdown]
# Besides the conjugate $q$ we fit a **guide of Pyro**, `AutoMultivariateNormal`: a joint Gaussian over all
# unconstrained parameters, with $Z$ summed out. It can represent correlations, and it does not assume that $Z$ and
# $\theta$ are independent. Its cost is a stochastic gradient method, `SVI`.

# %%
close = {
    "vb": fit(model(), overlapping, EM(accelerate="squarem"), restarts=5),
    "mvn": fit(model(AutoMultivariateNormal), overlapping, SVI(learning_rate=0.1), max_passes=400),
    "nuts": fit(model(), overlapping, NUTS(draws=250, warmup=200, chains=2)),
}
assert close["nuts"].converged
thetas = {}
for name, f in close.items():
    f.model.permute(f.model.family.rate.detach()[:, 0].argsort())  # low rate first
    thetas[name] = f.model.draw(4000, seed=0) if name != "nuts" else f.model.q.theta


def of(theta):
    return {
        "weight of low": theta["weights"][:, 0],
        "low rate": theta["rate"][:, 0, 0],
        "high rate": theta["rate"][:, 1, 0],
    }


widths = pd.DataFrame({name: {p: float(v.std()) for p, v in of(theta).items()} for name, theta in thetas.items()})
widths.insert(0, "exact", {p: sd for p, (_, sd) in exact.items()})
ratios = widths.div(widths["exact"], axis=0).drop(columns="exact")
display(pd.concat({"posterior s.d.": widths, "over the exact": ratios}, axis=1).round(3))
assert (ratios["vb"] < 0.65).all() and (ratios["mvn"] > ratios["vb"] + 0.2).all()
assert (abs(ratios["nuts"] - 1) < 0.15).all()

# %%
fig, ax = plt.subplots(figsize=(7.5, 4.4))
surface = density.sum(2).T  # (rate, weight)
heights = np.sort(surface.ravel())[::-1]
levels = [heights[np.searchsorted(heights.cumsum(), p)] for p in (0.95, 0.5)]
ax.contourf(share, lam, surface, levels=[*levels, surface.max()], colors=["#dddddd", "#b5b5b5"])
angle = np.linspace(0, 2 * np.pi, 200)
circle = np.stack([np.cos(angle), np.sin(angle)])
for name, colour, text, at in (
    ("mvn", ORANGE, "Gaussian guide", (0.615, 2.06)),
    ("vb", BLUE, "mean field", (0.555, 1.77)),
):
    points = torch.stack([of(thetas[name])["weight of low"], of(thetas[name])["low rate"]]).numpy()
    for p in (0.95, 0.5):
        ring = points.mean(1, keepdims=True) + np.linalg.cholesky(np.cov(points)) @ circle * stats.chi2(2).ppf(p) ** 0.5
        ax.plot(*ring, color=colour)
    ax.text(*at, text, color=colour)
ax.text(0.36, 2.3, "exact", color=GREY)
ax.set(xlabel="weight of the low component", ylabel="its rate", xlim=(0.27, 0.7), ylim=(1.4, 2.95))
ax.set_title("what is known of two overlapping components: 50 % and 95 %")
plt.show()

# %% [markdown]
# The larger the weight of the low component, the higher its rate must be: the exact posterior (grey) shows a
# correlation. Mean field cannot represent it. Its centre is about right, but it is only half as wide. The Gaussian
# guide is nearly right in both correlation and width. The next cell shows the diagnostics, which do not use the exact
# answer (except for the column `KL, exact`):

# %%
verdict = compare(overlapping, **close).frame()[["bound", "sd_ratio", "seconds"]]
weighed = {name: reliability(close[name], overlapping, draws=4000) for name in ("vb", "mvn")}
verdict.insert(1, "log_evidence", {name: w.log_evidence for name, w in weighed.items()})
verdict.insert(2, "pareto_k", {name: w.pareto_k for name, w in weighed.items()})
verdict.insert(1, "KL, exact", exact_evidence - verdict["bound"])
evidence_errors = (verdict["log_evidence"] - exact_evidence).abs()
assert weighed["mvn"].pareto_k < 0.7 < weighed["vb"].pareto_k
assert evidence_errors["mvn"] < 0.05 < evidence_errors["vb"] < 0.5
kl_exact = verdict["KL, exact"]  # 20 draws for the guide: noise of 0.1 to 0.2 nats; 2000 for NUTS
assert kl_exact["vb"] > kl_exact["mvn"] + 0.1 > -0.15 and kl_exact["nuts"] > -0.05
print(f"log p(X) on the grid: {exact_evidence:.3f} nats")
verdict.round(3)

# %% [markdown]
# Pareto $k$ warns of mean field (above 0.7) and accepts the guide, and the bounds rank them in the right order.
# Importance weighting corrects much of the error of $q$: with the guide, $\log p(X)$ agrees with the grid; with mean
# field, it is still off. (`KL, exact` is the exact $\log p(X)$ minus the bound. For mean field it is the KL of $q(Z)\,
# q(\theta)$, for the others, which sum $Z$ out, that of $q(\theta)$.)
#
# ## 7. ArviZ
#
# `to_arviz` converts any of these fits to the format of ArviZ, with the draws, the pointwise log-likelihoods and the
# replicated tables. Parameters are indexed by the column names of the table.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # ArviZ 0.23, about ArviZ 1
    import arviz as az
warnings.filterwarnings("ignore", module=r"arviz\.")  # about pandas and matplotlib, meant for the authors of ArviZ

idata = to_arviz(nuts, faithful)
summary = az.summary(idata, var_names=["weights", "loc", "sorted_weights", "mixture_mean", "mixture_sd"])
assert summary["r_hat"].max() < 1.05
summary[["mean", "sd", "hdi_3%", "hdi_97%", "ess_bulk", "r_hat"]]

# %% [markdown]
# `weights` and `loc` refer to *component 0* and *component 1*. Their summaries have a meaning only because the draws
# were relabelled. `sorted_weights`, `mixture_mean` and `mixture_sd` do not depend on labels at all. Use them where
# components cannot be told apart (they overlap, or there are more of them than groups).

# %%
axes = az.plot_trace(
    idata, var_names=["weights", "mixture_mean"], coords={"feature": ["waiting"]}, figsize=(9.5, 5.4), legend=False
)
for ax, title in zip(axes[:, 0], ("weights of the two components", "mean wait of the mixture, minutes"), strict=True):
    ax.set_title(title)
for ax in axes[:, 1]:
    ax.set_title("draw by draw: both chains, no drift")
plt.show()

# %% [markdown]
# ArviZ also computes leave-one-out cross-validation (PSIS-LOO, with the same Pareto $k$ for each row): the log density
# of each row predicted from all other rows, in nats. `az.compare` ranks models by it. Here we use draws of variational
# Bayes, which are cheap, for one to three components.

# %%
by_k = {k: fit(BayesianMixture(Gaussian(k, 2)), faithful, EM(accelerate="squarem"), restarts=5) for k in (1, 2, 3)}
tables = {f"K={k}": to_arviz(f, faithful, draws=250, chains=2) for k, f in by_k.items()}
foretold_rows = az.compare(tables)
loo = {"NUTS": az.loo(idata).elpd_loo, "VB": foretold_rows.loc["K=2", "elpd_loo"]}
lead = foretold_rows.loc["K=2", "elpd_diff"] / foretold_rows.loc["K=2", "dse"]
assert foretold_rows.index[0] == "K=3" and 1 < lead < 3 and abs(loo["NUTS"] - loo["VB"]) < 1
print(f"elpd of two components by the draws of NUTS {loo['NUTS']:.2f}, of VB {loo['VB']:.2f} nats")
foretold_rows[["elpd_loo", "p_loo", "elpd_diff", "dse", "warning"]].round(2)

# %% [markdown]
# One component predicts far worse. Three components are better than two, by about two standard errors (`dse`) of the
# difference.
#
# ## 8. How many components?
#
# The log evidence needs no extra penalty for the number of parameters: a model with more parameters spreads its
# probability over more possible tables. The bound approximates the log evidence, and `select` ranks by it. $K$
# components have $K!$ labellings, of which $q$ covers one, so $\log K!$ is added.

# %%
candidates = {f"{c}, K={k}": BayesianMixture(Gaussian(k, 2, c)) for c in ("full", "tied") for k in range(1, 5)}
chosen = select(faithful, candidates, EM(accelerate="squarem"), folds=None, restarts=5)
bounds = chosen.frame()["bound"]
relabelled_error = float(abs(bounds["full, K=2"] - (N * by_k[2].bounds[-1] + np.log(2))))
assert relabelled_error < 1e-4
best_full = max((f"full, K={k}" for k in range(1, 5)), key=bounds.__getitem__)
assert (best_full, chosen.best()) == ("full, K=2", "tied, K=3")
print(f"best with a covariance for each: {best_full}, of all: {chosen.best()}")
display(chosen.plot())

# %% [markdown]
# The best model with a separate covariance for each component has two components. The best model with a shared
# covariance has three, and it is ahead by a nat or two. BIC has the same winner in tutorial 04, and leave-one-out also
# prefers a third component. Do not rely on a difference of two nats: the log evidence depends on the prior, even on a
# weak one, and the default prior takes its scale from the data.
#
# **Or let the prior decide.** Start with too many components, and choose a prior that favours few of them:
# `concentration=0.01` puts the mass of the Dirichlet near the corners of the simplex, where most weights are nearly
# zero. A **Dirichlet process** (`stick_breaking=True`) is the limit of infinitely many components, truncated at ten
# here. Maximum likelihood does not favour unused components.

# %%
ten = {
    "maximum likelihood": fit(GaussianMixture(10, 2, prior="weak"), faithful, EM(tol=1e-7), restarts=5),
    "sparse Dirichlet": fit(
        BayesianMixture(Gaussian(10, 2), concentration=0.01), faithful, EM(accelerate="squarem"), restarts=5
    ),
    "Dirichlet process": fit(
        BayesianMixture(Gaussian(10, 2), stick_breaking=True), faithful, EM(accelerate="squarem"), restarts=5
    ),
}
rows_of = {name: N * f.model.weights.detach().sort(descending=True).values.numpy() for name, f in ten.items()}
used = {name: int((rows >= 1).sum()) for name, rows in rows_of.items()}
large = {name: int((rows >= 0.05 * N).sum()) for name, rows in rows_of.items()}
assert used["sparse Dirichlet"] <= 3 < used["maximum likelihood"]
assert large["sparse Dirichlet"] == large["Dirichlet process"] == 2 < large["maximum likelihood"]

fig, axes = plt.subplots(1, 3, figsize=(11, 3.2), sharey=True)
for ax, (name, rows), colour in zip(axes, rows_of.items(), (GREY, BLUE, ORANGE), strict=True):
    ax.bar(range(1, 11), rows, color=colour)
    ax.set(title=f"{name}:\n{used[name]} have a row or more", xlabel="component, by size", xticks=[1, 5, 10])
axes[0].set_ylabel("rows")
plt.show()

# %% [markdown]
# With both priors, two components have nearly all of the rows, and a handful of rows get components of their own. (The
# maximum likelihood fit has a weak prior on its covariances. Without it some of its ten components would have
# collapsed.)
#
# **Posterior predictive check.** The final check of a model is whether tables drawn from it resemble the data. Few
# eruptions last between 2.5 and 3.5 minutes. Do tables drawn from the model agree with this?


# %%
def between(table):
    """Share of eruptions of 2.5 to 3.5 minutes."""
    return ((table[..., 0] > 2.5) & (table[..., 0] < 3.5)).mean(-1)


seen_share = between(x)
replicated = {name: between(tables[name].posterior_predictive["x"].to_numpy()).ravel() for name in ("K=1", "K=2")}
tail = {name: float((shares <= seen_share).mean()) for name, shares in replicated.items()}
assert tail["K=1"] == 0 and 0.025 < tail["K=2"] < 0.975

fig, ax = plt.subplots(figsize=(8, 3.4))
for shares, colour in zip(replicated.values(), (GREY, BLUE), strict=True):
    ax.hist(100 * shares, bins=np.arange(0, 45, 1), color=colour, alpha=0.7)
ax.axvline(100 * seen_share, color=ORANGE)
ax.text(100 * seen_share, ax.get_ylim()[1], "seen", color=ORANGE, ha="center")
for name, colour, at in (("K=1", GREY, 36), ("K=2", BLUE, 7.2)):
    ax.text(at, 0.5 * ax.get_ylim()[1], name, color=colour)
ax.set(xlabel="eruptions of 2.5 to 3.5 minutes, per cent", yticks=[], title="500 replicated tables of each model")
plt.show()
print({name: f"{value:.3f} of its tables have as few or fewer" for name, value in tail.items()})

# %% [markdown]
# ## 9. What to use when
#
# | | gives | costs | for |
# | --- | --- | --- | --- |
# | `EM()`, `GaussianMixture` | a point estimate, `standard_errors`, `bootstrap` | least | many rows, groups far apart |
# | `EM()`, `BayesianMixture` | $q(\theta)$, a bound of $\log p(X)$ | as EM | choosing K, few rows, sparse priors |
# | `OnlineEM()` | the same $q$ | a batch for each step | tables too large for full passes, streams |
# | `SVI()`, a guide | a correlated $q$, any prior | about a hundred times EM | overlap, no conjugate prior |
# | `NUTS()` | draws from the exact posterior | as the guide; far more if all rows differ | a reference |
#
# (See `seconds` in sections 5 and 6. In section 6 there are three parameters, and equal counts are computed only once:
# NUTS costs no more than the guide. In section 5 there are eleven parameters and all rows differ: NUTS takes several
# hundred times as long as EM.)
#
# A good workflow: fit variational Bayes first, with several restarts. Then run `reliability`. Where $k$ is above 0.7,
# fit a guide. Where accuracy matters most, run NUTS.
#
# **Exercises.**
#
# 1. Fit the `deaths` with two Poisson components, by variational Bayes and on the grid of section 6. By what factor is
#    the variational posterior too narrow, and what is Pareto $k$? (The two groups of tutorial 03 overlap far more than
#    ours.)
# 2. Vary `concentration` from 0.001 to 10 for ten components on Old Faithful, and plot how many components have a row
#    or more.
# 3. Give the Gaussians of section 3 a prior with `location_weight=1`. Which of the bounds of section 8 change, by how
#    many nats, and does the best model change? Then repeat it with `scale` ten times as large.
#
# **References.** Attias, *Inferring parameters and structure of latent variable models by variational Bayes*, UAI 1999.
# Bishop, *Pattern Recognition and Machine Learning*, chapter 10, 2006. Blei & Jordan, *Variational inference for
# Dirichlet process mixtures*, Bayesian Analysis 1, 2006. Hoffman, Blei, Wang & Paisley, *Stochastic variational
# inference*, JMLR 14, 2013. Hoffman & Gelman, *The No-U-Turn sampler*, JMLR 15, 2014. Stephens, *Dealing with label
# switching in mixture models*, JRSS B 62, 2000. Yao, Vehtari, Simpson & Gelman, *Yes, but did it work? Evaluating
# variational inference*, ICML 2018. Vehtari, Gelman & Gabry, *Practical Bayesian model evaluation using leave-one-out
# cross-validation and WAIC*, Statistics and Computing 27, 2017.

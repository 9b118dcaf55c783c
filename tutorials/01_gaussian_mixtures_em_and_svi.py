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
# # Gaussian mixtures, by EM and by SVI
#
# A latent variable model explains each row $x_n$ by a variable $z_n$ that is not observed. This tutorial is about one
# such model, the Gaussian mixture. It uses simulated data first, and then the eruptions of a geyser. The model is
# fitted in two ways: by expectation maximization (EM) and by stochastic variational inference (SVI). Both maximize the
# same quantity, the evidence lower bound (ELBO), so their curves can be compared in one figure.
#
# 1. Complete and incomplete data
# 2. The marginal and the responsibilities
# 3. The EM algorithm, by hand and by `fit`
# 4. The bound: $\log p(X) = \mathrm{ELBO} + \mathrm{KL}$
# 5. SVI beside EM
# 6. Singularity: a likelihood without a ceiling
# 7. Identifiability: $K!$ equal optima
# 8. Local optima and restarts
#
# It runs in well under a minute on a laptop.

# %%
import copy
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro
import torch
from matplotlib.colors import to_rgb

from lowerbound import datasets
from lowerbound.inference import EM, SVI, align, compare, elbo_gap, fit, kl
from lowerbound.models import Collapse, GaussianMixture, seed

torch.set_default_dtype(torch.float64)  # everything here is in double precision

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#767676"  # Okabe & Ito, and a grey
PALETTE = np.array([to_rgb(colour) for colour in (BLUE, ORANGE, GREEN)])
plt.rcParams.update({"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "font.size": 12})
plt.rcParams.update({"lines.linewidth": 2, "legend.frameon": False, "figure.constrained_layout.use": True})


def blend(responsibilities):
    """One colour per row: the components' colours, mixed in proportion to its responsibilities."""
    return np.asarray(responsibilities) @ PALETTE[: responsibilities.shape[-1]]


def ellipses(ax, model, **style):
    """Each component as the ellipse that holds 86 % of it (two standard deviations)."""
    moments = model.family.moments()
    angle = torch.linspace(0, 2 * math.pi, 100)
    circle = 2 * torch.stack([angle.cos(), angle.sin()])
    for mean, covariance, colour in zip(moments.mean, moments.covariance, PALETTE, strict=False):
        outline = mean[:, None] + torch.linalg.cholesky(covariance) @ circle
        ax.plot(*outline, **{"color": colour, **style})


# %% [markdown]
# ## 1. Complete and incomplete data
#
# Draw $z_n$ first, then $x_n$ given it:
#
# $$p(z_n = k) = \pi_k, \qquad p(x_n \mid z_n = k) = \mathcal N(x_n \mid \mu_k, \Sigma_k).$$
#
# We write down a model whose parameters we know, and draw 500 pairs $(x_n, z_n)$.

# %%
truth = GaussianMixture(components=3, features=2)
truth.weights = torch.tensor([0.5, 0.3, 0.2])
truth.family.loc = torch.tensor([[0.0, 0.0], [3.0, 1.0], [0.5, 3.0]])
truth.family.scale_tril = torch.linalg.cholesky(
    torch.tensor([[[1.0, 0.5], [0.5, 0.8]], [[0.6, -0.3], [-0.3, 0.9]], [[0.9, 0.0], [0.0, 0.3]]])
)
X, Z = truth.sample(500, seed=1, labels=True)
X[:3], Z[:3]

# %% [markdown]
# **With $Z$ known** no iteration is needed. The likelihood of the complete data,
# $\prod_n \prod_k \left[\pi_k\, \mathcal N(x_n \mid \mu_k, \Sigma_k)\right]^{z_{nk}}$, is a product of one Gaussian
# likelihood per label. Its maximum has a closed form: the share, the mean and the covariance of each group.

# %%
complete = fit(GaussianMixture(3, 2), X, EM(), labels=Z)

for k in range(3):
    group = X[Z.eq(k)]
    assert math.isclose(complete.model.weights[k].item(), len(group) / len(X), abs_tol=1e-12)
    assert torch.allclose(complete.model.family.loc[k], group.mean(0), atol=1e-12)
    assert torch.allclose(complete.model.family.moments().covariance[k], group.T.cov(correction=0), atol=1e-12)
complete.model.summary(["x1", "x2"]).round(3)

# %% [markdown]
# **With $Z$ hidden** EM must also find the groups. **With some labels known** (here one row in ten; `-1` means
# unknown) these labels guide EM. All three cases use the same call.

# %%
told = torch.rand(len(X), generator=torch.Generator().manual_seed(0)) < 0.1
partial = fit(GaussianMixture(3, 2), X, EM(), labels=torch.where(told, Z, -1))
hidden = fit(GaussianMixture(3, 2), X, EM(), restarts=5)
hidden.model.permute(align(truth, hidden.model, X))  # the numbering is arbitrary: use that of `truth` (section 7)

pd.DataFrame(
    {
        name: {
            "log p(X)": float(f.model.bound(X).sum()),
            "log p(X, Z)": float(f.model.bound(X, labels=Z).sum()),
            "passes": len(f.bounds),
        }
        for name, f in {"Z known": complete, "a tenth of Z known": partial, "Z hidden": hidden}.items()
    }
).T.round(2)

# %% [markdown]
# Each fit maximizes a different likelihood: the first $\log p(X, Z)$, the last $\log p(X)$. With $Z$ hidden little is
# lost here, because the three groups hardly overlap.

# %%
fig, axes = plt.subplots(1, 3, figsize=(12, 3.8), sharex=True, sharey=True)
axes[0].scatter(*X.T, s=10, color=PALETTE[Z])
axes[0].set_title("complete: (x, z)")
axes[1].scatter(*X.T, s=10, color=GREY)
axes[1].set_title("incomplete: x alone")
axes[2].scatter(*X.T, s=10, color=blend(hidden.model.posterior(X).probs))
ellipses(axes[2], hidden.model)
axes[2].set_title("inferred: p(z | x)")
for ax in axes:
    ax.set(xlabel="$x_1$")
axes[0].set_ylabel("$x_2$")
plt.show()

# %% [markdown]
# ## 2. The marginal and the responsibilities
#
# From here on the data are real: 272 eruptions of the geyser Old Faithful. Each row has the duration of an eruption
# and the waiting time to the next one. The model has two components. The sum over $z$ gives the **marginal** density
# of a row. Bayes' rule gives the **responsibilities**, the posterior probabilities of the components:
#
# $$p(x) = \sum_{k=1}^K \pi_k\, \mathcal N(x \mid \mu_k, \Sigma_k), \qquad
# \gamma_k(x) = p(z = k \mid x) = \frac{\pi_k\, \mathcal N(x \mid \mu_k, \Sigma_k)}
# {\sum_j \pi_j\, \mathcal N(x \mid \mu_j, \Sigma_j)}.$$

# %%
faithful = datasets.load("faithful")
x = torch.tensor(faithful.to_numpy())
best = fit(GaussianMixture(2, 2), faithful, EM(), restarts=5).model
gamma = best.posterior(faithful).probs
log_likelihood = float(best.bound(faithful).sum())
print(f"log p(X) = {log_likelihood:.4f}")
best.summary(list(faithful.columns)).round(4)

# %%
grid = torch.cartesian_prod(torch.linspace(1.3, 5.5, 120), torch.linspace(38, 100, 120))
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
density = best.bound(grid).exp().reshape(120, 120).T
left.contourf(grid[::120, 0], grid[:120, 1], density, levels=10, cmap="Greys")
left.scatter(*x.T, s=6, color=BLUE)
left.set(title="marginal p(x)", xlabel="eruption (minutes)", ylabel="waiting (minutes)")
right.scatter(*x.T, s=16, color=blend(gamma))
ellipses(right, best)
unsure = gamma.amax(-1) < 0.95
right.scatter(*x[unsure].T, s=90, facecolor="none", edgecolor="black")
for (minutes, wait), (first, _) in zip(x[unsure], gamma[unsure], strict=True):
    right.annotate(rf"$\gamma$ = {first:.2f}, {1 - first:.2f}", (minutes, wait), (8, -20), textcoords="offset points")
right.set(title="responsibilities (circled: less than 95 % sure)", xlabel="eruption (minutes)")
plt.show()

# %% [markdown]
# ## 3. The EM algorithm, by hand and by `fit`
#
# We cannot maximize $\sum_n \log \sum_k \pi_k\, \mathcal N(x_n \mid \mu_k, \Sigma_k)$ in closed form, because the sum
# is inside the logarithm. EM alternates two steps instead:
#
# * **E-step:** with the parameters fixed, compute every $\gamma_{nk}$.
# * **M-step:** with the $\gamma_{nk}$ fixed, update the parameters. The $\gamma_{nk}$ act as fractional labels:
#   $N_k = \sum_n \gamma_{nk}$,
#   $\pi_k = \dfrac{N_k}{N}$,
#   $\mu_k = \dfrac{1}{N_k} \sum_n \gamma_{nk}\, x_n$,
#   $\Sigma_k = \dfrac{1}{N_k} \sum_n \gamma_{nk}\, (x_n - \mu_k)(x_n - \mu_k)^\top$.
#
# Here is the algorithm in full. The start is poor on purpose: two broad, overlapping components.

# %%
pi, mu = torch.tensor([0.5, 0.5]), torch.tensor([[2.5, 60.0], [3.5, 80.0]])
sigma = x.T.cov(correction=0).expand(2, 2, 2)


def e_step(pi, mu, sigma):
    joint = pi.log() + torch.distributions.MultivariateNormal(mu, sigma).log_prob(x[:, None])  # (n, k)
    evidence = joint.logsumexp(-1)
    return (joint - evidence[:, None]).exp(), evidence.mean()


def m_step(gamma):
    n_k = gamma.sum(0)
    mu = gamma.T @ x / n_k[:, None]
    centred = x - mu[:, None]  # (k, n, d)
    return n_k / len(x), mu, (gamma.T[:, :, None] * centred).mT @ centred / n_k[:, None, None]


by_hand = []
for _ in range(25):
    gamma_now, nats_per_row = e_step(pi, mu, sigma)
    by_hand.append(float(nats_per_row))
    pi, mu, sigma = m_step(gamma_now)

# %% [markdown]
# `fit` runs the same passes from the same start. (A pass is one E-step over all rows and one M-step.) If you have set
# the parameters of a model, `fit` starts from them. It fits a copy, so your model does not change. `bounds[t]` is the
# bound at the parameters *before* the update of pass $t$. The last value, `bounds[-1]`, belongs to the returned model.

# %%
start = GaussianMixture(2, 2)
start.weights = torch.tensor([0.5, 0.5])
start.family.loc = torch.tensor([[2.5, 60.0], [3.5, 80.0]])
start.family.scale_tril = torch.linalg.cholesky(x.T.cov(correction=0)).expand(2, 2, 2)

em = fit(start, faithful, EM(tol=0.0), max_passes=25)
largest_difference = float((em.bounds - torch.tensor(by_hand)).abs().max())
assert largest_difference < 1e-12
assert float(em.bounds.diff().min()) > -1e-12  # the bound never decreases
print(f"25 passes; the largest difference to the loop above is {largest_difference:.0e} nats per row")

# %%
fig, axes = plt.subplots(1, 4, figsize=(13, 3.4), width_ratios=[1, 1, 1, 1.3])
for ax, passes in zip(axes, (1, 8, 25), strict=False):
    snapshot = fit(start, faithful, EM(tol=0.0), max_passes=passes).model
    ax.scatter(*x.T, s=8, color=blend(snapshot.posterior(x).probs))
    ellipses(ax, snapshot)
    ax.set(title=f"pass {passes}", xlabel="eruption", xlim=(1, 6), ylim=(35, 105))
axes[0].set_ylabel("waiting")
axes[3].plot(range(1, 26), em.bounds, color="black", marker="o", markersize=4)
axes[3].set(title="the bound never falls", xlabel="pass", ylabel="nats per row")
plt.show()

# %% [markdown]
# ## 4. The bound
#
# Why does this work? For every distribution $q(Z)$,
#
# $$\log p(X) = \underbrace{\mathbb E_q\!\left[\log \frac{p(X, Z)}{q(Z)}\right]}_{\mathrm{ELBO}(q,\, \theta)}
# + \underbrace{\mathrm{KL}\big(q(Z)\,\|\,p(Z \mid X)\big)}_{\ge\, 0}.$$
#
# (In the lecture notes, eq. 1.5, this KL contains $\log p$. A divergence compares two distributions, so it must be
# $p$.)
#
# `elbo_gap` computes each of the three terms from its own definition. We evaluate them for a family of $q$: take the
# responsibilities, and shift the log odds of every row by $b$ in favour of the second component.

# %%
halfway = fit(start, faithful, EM(tol=0.0), max_passes=4).model
logits = halfway.posterior(x).logits
shifts = np.linspace(-4, 4, 33)
gaps = [elbo_gap(halfway, x, torch.softmax(logits + torch.tensor([0.0, b]), -1)) for b in shifts]
evidence, elbo, divergence = (
    torch.stack([getattr(g, part).mean() for g in gaps]) for part in ("evidence", "elbo", "kl")
)

identity_error = float((evidence - elbo - divergence).abs().max())
assert identity_error < 1e-12
assert shifts[int(elbo.argmax())] == 0 and float(divergence.min()) < 1e-12

# %%
fig, ax = plt.subplots(figsize=(7.5, 4))
ax.axhline(float(evidence[0]), color="black", linestyle="--", label=r"$\log p(X)$: the same for every $q$")
ax.fill_between(shifts, elbo, evidence, color=ORANGE, alpha=0.35, label=r"KL$(q \,\|\, p(Z \mid X))$: the gap")
ax.plot(shifts, elbo, color=BLUE, label=r"ELBO$(q, \theta)$")
ax.plot(0, evidence[0], "o", color="black", markersize=8)
ax.annotate("E-step: $q = p(Z \\mid X)$", (0, float(evidence[0])), (0, 8), textcoords="offset points", ha="center")
ax.set(xlabel="$b$: nats by which $q$ favours the second component", ylabel="nats per row")
ax.set_ylim(top=float(evidence[0]) + 0.15 * float(evidence[0] - elbo.min()))
ax.legend(loc="lower center")
plt.show()

# %% [markdown]
# So the ELBO is a lower bound for *every* $q$. Both steps of EM maximize it, over different arguments:
#
# * the **E-step** maximizes it over $q$:
#   $\arg\max_q \mathrm{ELBO} = \arg\min_q \mathrm{KL}(q \,\|\, p(Z \mid X)) = p(Z \mid X)$;
# * the **M-step** maximizes it over $\theta$: $\arg\max_\theta \mathbb E_q[\log p(X, Z \mid \theta)]$, since the
#   entropy of $q$ does not depend on $\theta$.
#
# After an M-step $q$ is no longer the posterior, so the KL is positive. The next E-step makes it zero again. Here are
# a few passes:

# %%
stairs = []
for passes in range(2, 9):
    old, new = (fit(start, faithful, EM(tol=0.0), max_passes=p).model for p in (passes, passes + 1))
    gap = elbo_gap(new, x, old.posterior(x))
    stairs.append([float(part.mean()) for part in (old.bound(x), gap.elbo, gap.evidence)])
before, after_m, after_e = np.array(stairs).T
assert (after_m >= before).all() and (after_e >= after_m).all()

fig, ax = plt.subplots(figsize=(7.5, 4))
for i in range(len(stairs)):
    ax.plot(
        [i, i + 1], [before[i], after_m[i]], color=GREEN, label="M-step: ELBO up, at the old $q$" if i == 0 else None
    )
    label = r"E-step: KL to 0, ELBO meets $\log p(X)$" if i == 0 else None
    ax.plot([i + 1, i + 1], [after_m[i], after_e[i]], color=ORANGE, linewidth=5, label=label)
ax.plot(range(len(stairs) + 1), [before[0], *after_e], "o", color="black", label=r"$\log p(X)$")
ax.set(xlabel="pass", ylabel="nats per row", xticks=range(8), xticklabels=range(2, 10))
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# ## 5. SVI beside EM
#
# SVI maximizes the same bound by gradient steps. In Pyro a model is a pair of programs: `model` describes how the data
# are generated, and `guide` is $q$. Our guide *is* the E-step: it draws $z$ from the exact posterior. The engine has
# three estimators of the bound, which differ in how they average over $z$:
#
# | `SVI(elbo=...)` | the average over $z$ | by |
# | --- | --- | --- |
# | `"sampled"` | one draw from the guide | Pyro's `Trace_ELBO` |
# | `"enumerated"` | the sum over all $K$ values | Pyro's `TraceEnum_ELBO` |
# | `"exact"` | the same sum, as a formula | `model.objective`, without Pyro's tracing |

# %%
exact = fit(start, faithful, SVI("exact"))
sampled = fit(start, faithful, SVI("sampled"))
comparison = compare(faithful, em=em, exact=exact, sampled=sampled)
comparison.frame()[["log_likelihood", "elbo", "gap", "free_parameters", "bic", "passes"]].round(4)

# %%
comparison.pairs().round(6)

# %% [markdown]
# From this start all three converge to the same optimum. EM needs by far the fewest passes: each M-step finds the
# maximum of the bound for its $q$, while a gradient step only moves towards it.

# %%
top = max(float(f.bounds.max()) for f in (em, exact, sampled))
fig, ax = plt.subplots(figsize=(7.5, 4))
for name, f, colour in (("EM", em, "black"), ("SVI, exact", exact, BLUE), ("SVI, sampled", sampled, ORANGE)):
    ax.plot(range(1, len(f.bounds) + 1), (top - f.bounds).clamp(min=1e-9), color=colour, label=name)
ax.set(xlabel="pass", ylabel="below the best bound\n(nats per row)", yscale="log", ylim=(1e-8, 2))
ax.legend()
plt.show()

# %% [markdown]
# ### One draw, and yet no noise
#
# A one-sample ELBO is $\log p(X, z) - \log q(z)$ at a $z$ drawn from $q$. If $q$ is the posterior, then
# $\log p(X, z) - \log p(z \mid X) = \log p(X)$ for **every** $z$: the estimate has zero variance and equals the
# log-likelihood. With any other guide the estimate is lower on average, and noisy. (The *gradient* of the one-sample
# estimate still varies from draw to draw. It is unbiased.)


# %%
def coin(x, weights=None, labels=None, rows=None):
    """A guide that ignores the data: z is the toss of a fair coin."""
    with pyro.plate("rows", len(x)):
        pyro.sample("z", pyro.distributions.Categorical(torch.tensor([0.5, 0.5])))


def draws(guide, times=40):
    """One-sample estimates of the ELBO, in nats per row."""
    pyro.set_rng_seed(0)
    elbo = pyro.infer.Trace_ELBO()
    return np.array([-elbo.loss(halfway.model, guide, x) / len(x) for _ in range(times)])


by_guide, by_coin = draws(halfway.guide), draws(coin)
truth_now = float(halfway.bound(x).mean())
assert np.abs(by_guide - truth_now).max() < 1e-12
assert (by_coin < truth_now).all()

fig, ax = plt.subplots(figsize=(7.5, 2.8))
jitter = np.random.default_rng(0).uniform(-0.15, 0.15, 40)
ax.scatter(by_guide, 1 + jitter, color=BLUE, s=18)
ax.scatter(by_coin, jitter, color=ORANGE, s=18)
ax.axvline(truth_now, color="black", linestyle="--", linewidth=1)
ax.annotate(r"$\log p(X)$", (truth_now, 0.45), (-8, 0), textcoords="offset points", ha="right")
ax.set(yticks=[0, 1], yticklabels=["coin", "exact\nposterior"], ylim=(-0.5, 1.5))
ax.set(xlabel="one-sample ELBO (nats per row), 40 draws each", title="the guide decides the noise")
plt.show()

# %% [markdown]
# ### A plain Pyro loop
#
# `fit` is a convenience. The model and its guide are ordinary Pyro programs, so you can train them with Pyro's own
# tools. `seed` draws the same starting point as `fit`.

# %%
pyro.set_rng_seed(0)
plain = seed(GaussianMixture(2, 2), faithful)
svi = pyro.infer.SVI(plain.model, plain.guide, pyro.optim.Adam({"lr": 0.02}), pyro.infer.Trace_ELBO())
for _ in range(200):
    svi.step(x)

plain_shortfall = log_likelihood - float(plain.bound(x).sum())
print(f"{plain_shortfall:.2f} nats below the optimum, of {-log_likelihood:.0f}")
assert 0 <= plain_shortfall < 2
assert len(pyro.get_param_store()) == 0  # the parameters live in the model, not in a global table

# %% [markdown]
# ## 6. Singularity
#
# The likelihood of a Gaussian mixture has singularities. Put the mean of one component exactly on a row, with
# covariance $\sigma^2 I$. Its density at that row is $(2\pi)^{-D/2}\, \sigma^{-D}$ (the notes print the case $D = 1$).
# This density has no upper bound as $\sigma \to 0$, while the other components keep the densities of all other rows
# away from zero. So the likelihood has no upper bound. Here we add a third component, on the first row, to the two
# clusters of Old Faithful. Columns are in standard units, and $D = 2$.

# %%
y = (x - x.mean(0)) / x.std(0, correction=0)
two = fit(GaussianMixture(2, 2), y, EM(), restarts=3).model
two_clusters = float(two.bound(y).sum())


def spiked(sigma, prior=None):
    """The two clusters, and a component of width sigma on row 0 that takes 1 % of the weight."""
    model = GaussianMixture(3, 2, prior=prior)
    model.weights = torch.cat([0.99 * two.weights, torch.tensor([0.01])])
    model.family.loc = torch.cat([two.family.loc, y[:1]])
    model.family.scale_tril = torch.cat([two.family.scale_tril, sigma * torch.eye(2)[None]])
    return model


widths = np.logspace(0, -8, 33)
heights = np.array([float(spiked(s).bound(y).sum()) for s in widths])
slope = (heights[-1] - heights[-2]) / math.log(widths[-2] / widths[-1])
assert abs(slope - 2) < 1e-6  # nats for each e-fold of sigma: D

fig, ax = plt.subplots(figsize=(7.5, 4))
ax.semilogx(widths, heights, color=ORANGE)
spike_text = "with the spike: it gains\n$D \\,\\log 10 = 4.6$ nats\na decade, for ever"
ax.annotate(spike_text, (1e-5, heights[20]), (-12, 6), textcoords="offset points", ha="right", color="#8A5F00")
ax.axhline(two_clusters, color="black", linestyle="--")
ax.annotate("the two clusters alone", (1e-8, two_clusters), (0, 6), textcoords="offset points", ha="right")
ax.invert_xaxis()
ax.set(xlabel=r"width $\sigma$ of the spike (standard units)", ylabel=r"$\log p(X)$ (nats)")
plt.show()

# %% [markdown]
# If such a spike is narrow enough, EM makes it narrower in every pass, and the run collapses. `fit` detects this and
# raises an error instead of returning a number. With several restarts, collapsed runs are counted and skipped. It is
# an error only if all runs collapse.

# %%
try:
    fit(spiked(0.001), y, EM())
    message = ""
except Collapse as collapse:
    message = str(collapse)
print(message)
assert 'prior="weak"' in message

# %% [markdown]
# The remedy is a prior on each covariance. Here the prior is so weak that it weighs about as much as a handful of
# rows. The objective is now $\log p(X \mid \theta) + \log p(\theta)$. It is bounded, and every pass of EM still raises
# it. From the same start the spike widens into an ordinary, small component.

# %%
cured = fit(spiked(0.001, prior="weak"), y, EM())
assert float(cured.bounds.diff().min()) > -1e-12
print(cured.reason)
cured.model.summary(list(faithful.columns)).round(3)

# %% [markdown]
# ## 7. Identifiability
#
# Relabelling the components changes no probability, so a mixture of $K$ components has $K!$ equal optima. Here are all
# six for the fit of section 1, which has three components.

# %%
permutations = {}
for order in itertools.permutations(range(3)):
    relabelled = copy.deepcopy(hidden.model)
    relabelled.permute(order)
    permutations[order] = float(relabelled.bound(X).sum())
assert len(permutations) == math.factorial(3)
assert max(permutations.values()) - min(permutations.values()) < 1e-9
pd.Series(permutations, name="log p(X)").rename_axis(["first", "second", "third"]).to_frame()

# %% [markdown]
# A plot of the log-likelihood shows the same. The model here has two components, on the waiting times alone, and all
# its parameters except the two means are fixed. The two peaks are mirror images of each other.

# %%
waiting = torch.tensor(faithful[["waiting"]].to_numpy())
means = torch.linspace(45, 90, 91)
log_density = torch.distributions.Normal(means[:, None], 6.0).log_prob(waiting[:, 0])  # (91, n), one s.d. for both
surface = (torch.logaddexp(log_density[:, None], log_density[None]) - math.log(2)).mean(-1)
assert torch.allclose(surface, surface.T)

fig, ax = plt.subplots(figsize=(5.2, 4.4))
filled = ax.contourf(
    means, means, surface, levels=np.linspace(-8, float(surface.max()), 15), cmap="cividis", extend="min"
)
row, column = divmod(int(surface.argmax()), 91)
ax.plot(means[[row, column]], means[[column, row]], "o", color="white", markeredgecolor="black", markersize=9)
ax.plot(means, means, color="white", linestyle=":", linewidth=1)
ax.set(xlabel=r"$\mu_1$ (minutes)", ylabel=r"$\mu_2$ (minutes)", title="two labellings, one model", aspect="equal")
fig.colorbar(filled, label="nats per row", format="%.1f")
plt.show()

# %% [markdown]
# Which of the equal optima a run finds depends on its start. `align(a, b, x)` finds the relabelling of `b` that agrees
# best with `a`. `canonical_order` (used by `summary`) sorts the components by weight, for printing.

# %%
one, other = (fit(GaussianMixture(3, 2), X, EM(), seed=s).model for s in (0, 2))
order = align(one, other, X)
apart = (one.family.loc - other.family.loc).abs().max().item()
other.permute(order)
together = (one.family.loc - other.family.loc).abs().max().item()
disagreement = float(kl(one.posterior(X), other.posterior(X)).mean())
print(f"largest difference of the means: {apart:.2f} as found, {together:.1e} once {order.tolist()} is applied")
assert apart > 1 and together < 0.01 and disagreement < 1e-4
one.summary(["x1", "x2"]).round(3)

# %% [markdown]
# ## 8. Local optima and restarts
#
# The $K!$ equal optima are harmless, because they are the same model. Other local optima are different, worse models.
# EM and SVI only raise the bound, so they stop at a local optimum near their start. With four components, the speeds
# of 82 galaxies have several local optima. `restarts` runs the fit from many starting points. `fit` returns the best
# run, and `optima` lists what all runs found.

# %%
galaxies = datasets.load("galaxies") / 1000  # thousands of km/s
hills = fit(GaussianMixture(4, 1, "diag"), galaxies, EM(), restarts=30)
found = [o for o in hills.optima if not o.collapsed]
assert sum(o.count for o in hills.optima) == 30 and len(found) > 1
assert float(hills.bounds[-1]) == found[0].bound

fig, ax = plt.subplots(figsize=(7.5, 3))
ax.barh(range(len(found)), [o.count for o in found], color=[BLUE] + [GREY] * (len(found) - 1))
ax.set_yticks(range(len(found)), [f"{o.bound * len(galaxies):.2f}" for o in found])
ax.invert_yaxis()
ax.set(
    xticks=range(0, 31, 5),
    xlabel="runs of 30 that ended there",
    ylabel=r"$\log p(X)$ (nats)",
    title="best first: the hills that EM climbed",
)
plt.show()

# %% [markdown]
# With one restart, the result would depend on chance. With three components instead of four all runs find the same
# optimum, and there is a published value to compare with.

# %%
three = fit(GaussianMixture(3, 1, "diag"), galaxies, EM(), restarts=10)
galaxies_log_likelihood = float(three.bounds[-1]) * len(galaxies)
print(f"log p(X) = {galaxies_log_likelihood:.4f}; optima found: {len(three.optima)}")

# %% [markdown]
# ## Exercises
#
# 1. Delete the labels of one whole group (`torch.where(Z == 2, -1, Z)`) and fit again. Where does the unlabelled group
#    end up, and why is no `align` needed?
# 2. In section 4 replace the shifted $q$ by a one-hot $q$ (all of a row given to its likeliest
#    component). How large is the KL, and for which rows? This is the bound that k-means would climb.
# 3. In section 6 give the spike a *diagonal* covariance, narrow in one column only. How fast does the likelihood grow
#    now? What does that say about a data set with a constant column?

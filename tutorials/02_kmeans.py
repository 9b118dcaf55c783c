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
# # k-means, and the mixture behind it
#
# k-means assigns every row to exactly one of $K$ clusters. It is an old and fast way to find groups. It is also a
# latent variable model: a Gaussian mixture in which every assignment is certain. This tutorial runs k-means by hand,
# shows where it fails, and compares it with the mixture on one scale.
#
# 1. The distortion and its two steps
# 2. Local minima
# 3. Empty clusters
# 4. k-means as a mixture: the price of certainty
# 5. The limit of small variance
# 6. What k-means cannot see
#
# It runs in well under a minute on a laptop.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import to_rgb

from lowerbound import datasets
from lowerbound.inference import EM, compare, elbo_gap, fit
from lowerbound.models import GaussianMixture, KMeans

torch.set_default_dtype(torch.float64)  # everything here is in double precision

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#767676"  # Okabe & Ito, and a grey
PALETTE = np.array([to_rgb(colour) for colour in (BLUE, ORANGE, GREEN)])
plt.rcParams.update({"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "font.size": 12})
plt.rcParams.update({"lines.linewidth": 2, "legend.frameon": False, "figure.constrained_layout.use": True})


def blend(responsibilities):
    """One colour per row: the clusters' colours, mixed in proportion to its responsibilities."""
    return np.asarray(responsibilities) @ PALETTE[: responsibilities.shape[-1]]


def cross(ax, centres):
    """The centres, each a large cross in the colour of its cluster."""
    ax.scatter(*centres.T, s=170, marker="X", color=PALETTE[: len(centres)], edgecolor="black", linewidth=1.2, zorder=3)


# %% [markdown]
# ## 1. The distortion and its two steps
#
# Assign each row $x_n$ to one cluster: $r_{nk} = 1$ if row $n$ belongs to cluster $k$, and 0 otherwise. With a centre
# $\mu_k$ for each cluster, the **distortion** is the sum of the squared distances from the rows to their centres,
#
# $$J = \sum_{n=1}^N \sum_{k=1}^K r_{nk}\, \lVert x_n - \mu_k \rVert^2.$$
#
# It has two kinds of unknowns. Each is easy to optimize while the other is fixed:
#
# * **assign**: at fixed centres, $r_{nk} = 1$ for $k = \arg\min_j \lVert x_n - \mu_j \rVert^2$ (the lecture notes omit
#   the argmin);
# * **move**: at fixed assignments, $\partial J / \partial \mu_k = 0$ gives
#   $\mu_k = \sum_n r_{nk} x_n \big/ \sum_n r_{nk}$, the mean of the cluster's rows.
#
# These are an E-step and an M-step, and they have those names here. The data are three groups of points. The start is
# bad on purpose: all three centres are in one corner.

# %%
truth = GaussianMixture(3, 2, "spherical")
truth.weights = torch.tensor([0.4, 0.3, 0.3])
truth.family.loc = torch.tensor([[0.0, 0.0], [4.0, 0.5], [1.8, 3.6]])
truth.family.scale = torch.tensor([0.9, 0.7, 0.8])
x = truth.sample(240, seed=2)
corner = torch.tensor([[-1.0, 4.0], [0.0, 3.0], [-1.6, 2.6]])

model = KMeans(components=3, features=2)
model.loc, model.family.scale = corner, 1.0
distortions, centres, assigned = [], [corner], []
for _ in range(8):
    statistics = model.expect(x)  # assign
    distortions.append(float(statistics.distortion))
    assigned.append(model.posterior(x).probs)
    model.maximize(statistics)  # move
    centres.append(model.loc.detach().clone())

pd.Series(distortions, name="J").rename_axis("pass").to_frame().T.round(2)

# %% [markdown]
# `expect` returns the sums that the move needs (how many rows each cluster has, and their total), and the distortion.
# `posterior` is the assignment. The figure shows the first four of these half steps.

# %%
fig, axes = plt.subplots(1, 4, figsize=(13, 3.5), sharex=True, sharey=True)
for i, ax in enumerate(axes):
    at, is_move = divmod(i, 2)
    ax.scatter(*x.T, s=10, color=blend(assigned[at]), alpha=0.6)
    if is_move:
        for old, new in zip(centres[at], centres[at + 1], strict=True):
            ax.annotate("", new, old, arrowprops={"arrowstyle": "-|>", "linewidth": 1.6, "shrinkB": 6})
    cross(ax, centres[at + is_move])
    ax.set(title=f"{i + 1}. {'move to the means' if is_move else 'assign to the nearest'}", xlabel="$x_1$")
axes[0].set_ylabel("$x_2$")
plt.show()

# %% [markdown]
# Neither step can raise $J$: the first chooses the smallest distance for each row, the second the best centre for each
# cluster. We check both half steps against the definition, written out in plain torch.


# %%
def distortion(r, mu):
    """J by its definition."""
    return float((r * (x[:, None] - mu).square().sum(-1)).sum())


halves = []
for t in range(8):
    nearest = (x[:, None] - centres[t]).square().sum(-1).argmin(-1)
    assert torch.equal(nearest, assigned[t].argmax(-1))
    assert torch.allclose(centres[t + 1], torch.stack([x[nearest == k].mean(0) for k in range(3)]), atol=1e-12)
    halves += [distortion(assigned[t], centres[t]), distortion(assigned[t], centres[t + 1])]
halves = np.array(halves)
largest_difference = float(np.abs(halves[::2] - distortions).max())
assert largest_difference < 1e-10
largest_rise = float(np.diff(halves).max())
assert largest_rise <= 1e-10  # J never increases

fig, ax = plt.subplots(figsize=(7.5, 3.6))
steps = np.arange(len(halves)) / 2 + 1
ax.plot(steps, halves, color=GREY, linewidth=1)
ax.plot(steps[::2], halves[::2], "o", color=BLUE, label="after assigning")
ax.plot(steps[1::2], halves[1::2], "s", color=ORANGE, label="after moving")
ax.set(xlabel="pass", ylabel="distortion $J$", title="no half step raises $J$", xticks=range(1, 9), ylim=(0, None))
ax.legend()
plt.show()

# %% [markdown]
# There are finitely many assignments, and $J$ decreases until they repeat. So k-means stops, after a few passes. `fit`
# runs the same passes from k-means++ starting centres, with as many restarts as you ask for.

# %% [markdown]
# ## 2. Local minima
#
# k-means stops at a point that neither step can improve. This local minimum may be far from the best one. `restarts`
# runs k-means from several starting points, and `optima` lists the optima and how many runs found each. Its numbers
# are bounds in nats per row (section 4 defines them), and we convert them into distortions.

# %%
iris = datasets.load("iris")
fit3 = fit(KMeans(3, 4), iris, EM(), restarts=100)


def as_distortion(bound, rows, columns, k):
    """J of a fitted KMeans, whose scale^2 is J / (rows * columns), from its bound in nats per row."""
    return rows * columns / (2 * math.pi) * math.exp(-1 - 2 * (bound + math.log(k)) / columns)


iris_optima = [(as_distortion(o.bound, 150, 4, 3), o.count) for o in fit3.optima]
assert math.isclose(iris_optima[0][0], float(fit3.model.distortion(iris)), rel_tol=1e-12)
pd.DataFrame(iris_optima, columns=["distortion J, cm²", "runs of 100"]).round(4)

# %% [markdown]
# With three clusters, the runs on iris find two minima, which differ in a single flower. The published best is
# 78.8514. This is an easy case. Ten clusters of 1797 handwritten digits, 64 columns each, are more typical: nearly
# every run finds a different minimum.

# %%
digits = datasets.load("digits")
fit10 = fit(KMeans(10, 64), digits, EM(), restarts=40)
digits_optima = np.array([as_distortion(o.bound, 1797, 64, 10) for o in fit10.optima for _ in range(o.count)])
digits_best = float(digits_optima.min())
assert len(fit3.optima) == 2 and len(fit10.optima) > 20

worse = 100 * (digits_optima / digits_best - 1)
fig, ax = plt.subplots(figsize=(7.5, 3.4))
ax.hist(worse, bins=24, color=BLUE)
ax.set(xlabel="distortion above the best run, per cent", ylabel="runs", yticks=range(0, 16, 5))
ax.set_title(f"digits, 10 clusters: 40 runs, {len(fit10.optima)} different minima")
plt.show()

# %% [markdown]
# On iris the second minimum is 0.005 per cent worse than the best; here the worst is several per cent worse. A single
# run does not tell you which minimum it found.

# %% [markdown]
# ## 3. Empty clusters
#
# A centre can be so far from the data that it is nearest to no row. Its cluster is empty, and the mean of its rows is
# 0 / 0. A centre that stays there is of no use. Here an empty cluster takes the row that is furthest from its own
# centre, which can only lower $J$.

# %%
astray = KMeans(3, 2)
astray.loc, astray.family.scale = torch.tensor([[0.0, 0.0], [3.5, 1.5], [9.0, 9.0]]), 1.0
history = []
for _ in range(12):
    statistics = astray.expect(x)
    history.append((astray.loc.detach().clone(), astray.posterior(x).probs, statistics))
    astray.maximize(statistics)
empty_counts = [int(s.weight[2]) for _, _, s in history]
empty_distortions = np.array([float(s.distortion) for _, _, s in history])
assert empty_counts[0] == 0 and empty_counts[1] > 0
assert np.diff(empty_distortions).max() <= 1e-10

fig, axes = plt.subplots(1, 3, figsize=(12, 3.7), sharex=True, sharey=True)
for ax, t in zip(axes, (0, 1, 11), strict=True):
    where, r, statistics = history[t]
    ax.scatter(*x.T, s=10, color=blend(r), alpha=0.6)
    cross(ax, where)
    ax.set(title=f"pass {t + 1}: green has {empty_counts[t]} rows\n$J$ = {empty_distortions[t]:.0f}", xlabel="$x_1$")
axes[0].set_ylabel("$x_2$")
plt.show()

# %% [markdown]
# ## 4. k-means as a mixture: the price of certainty
#
# Take a Gaussian mixture whose components are equally likely and share one spherical covariance $\sigma^2 I$. The log
# joint probability of a row and its component is
#
# $$\log p(x_n, z_n = k) = -\log K - \tfrac D2 \log(2 \pi \sigma^2)
# - \frac{\lVert x_n - \mu_k \rVert^2}{2 \sigma^2}.$$
#
# Only the last term depends on $k$, so the most probable component is the one with the nearest centre. k-means is
# therefore this mixture with a $q$ that gives probability 1 to one component. Such a $q$ has zero entropy, and its
# ELBO is
#
# $$\mathrm{ELBO} = -N \log K - \tfrac{ND}2 \log (2 \pi \sigma^2) - \frac{J}{2 \sigma^2}.$$
#
# Lowering $J$ raises this lower bound. Since $\log p(X) = \mathrm{ELBO} + \mathrm{KL}(q \,\|\, p(Z \mid X))$, the KL
# is the price of certainty: what the bound loses because $q$ is certain. For such a hard $q$ it is $-\log$ of the
# probability that the mixture gives to the chosen component.

# %%
kmeans = fit3.model
gap = elbo_gap(kmeans, iris)
J, sigma = float(kmeans.distortion(iris)), float(kmeans.family.scale.detach())
formula = -150 * math.log(3) - 300 * math.log(2 * math.pi * sigma**2) - J / (2 * sigma**2)
assert math.isclose(float(kmeans.bound(iris).sum()), formula, rel_tol=1e-12)
assert float((gap.evidence - gap.elbo - gap.kl).abs().max()) < 1e-12

price = pd.Series(
    {
        "log p(X)": float(gap.evidence.sum()),
        "ELBO": float(gap.elbo.sum()),
        "KL: the price": float(gap.kl.sum()),
        "the dearest row": float(gap.kl.max()),
    },
    name="nats",
)
price.to_frame().T.round(4)

# %% [markdown]
# The price is high near the border between clusters, where a row could belong to either. A row halfway between two
# centres costs $\log 2 = 0.69$ nats, the maximum for two clusters.

# %%
petals = torch.tensor(iris[["petal_length", "petal_width"]].to_numpy())
fig, ax = plt.subplots(figsize=(7.5, 4.2))
ax.scatter(*petals.T, s=14 + 500 * gap.kl, color=blend(kmeans.posterior(iris).probs), alpha=0.55, linewidth=0)
cross(ax, kmeans.loc.detach()[:, 2:])
for size in (0.0, 0.2, 0.6):
    ax.scatter([], [], s=14 + 500 * size, color=GREY, alpha=0.55, linewidth=0, label=f"{size:.1f} nats")
ax.legend(title="price of certainty", loc="upper left", labelspacing=1)
ax.set(xlabel="petal length (cm)", ylabel="petal width (cm)", title="the doubtful flowers cost the most")
plt.show()

# %% [markdown]
# The two models can now be compared. `gaussian` is the same mixture with the exact $q$ and with free weights. Both are
# scored by the true $\log p(X)$ of their parameters. The column "gap" is the price of certainty.

# %%
gaussian = fit(GaussianMixture(3, 4, "tied-spherical"), iris, EM(), restarts=10)
comparison = compare(iris, kmeans=fit3, gaussian=gaussian)
scores = comparison.frame()
scores[["log_likelihood", "elbo", "gap", "free_parameters", "bic", "passes"]].round(4)

# %% [markdown]
# The mixture reaches a higher $\log p(X)$, as it must: it maximizes this number, while k-means maximizes a lower bound
# of it. `kmeans` has the lower BIC. Two free weights do not justify two more parameters here, with 50 flowers of each
# species.

# %% [markdown]
# ## 5. The limit of small variance
#
# Keep the centres and let $\sigma$ shrink. The log odds of a row between two centres are a difference of squared
# distances, divided by $2 \sigma^2$. They grow without limit, so the responsibilities tend to 0 or 1. The soft
# assignment becomes hard, and the mixture becomes k-means.

# %%
scales = np.geomspace(3.0, 0.03, 41)


def softened(scale):
    """The mixture on the centres of k-means, with this standard deviation."""
    mixture = GaussianMixture(3, 4, "tied-spherical")
    mixture.family.loc, mixture.family.scale = kmeans.loc.detach(), float(scale)
    return mixture


doubt = np.array([float((1 - softened(s).posterior(iris).probs.amax(-1)).mean()) for s in scales])
rescaled = np.array(
    [
        float(-2 * s**2 * (softened(s).bound(iris).sum() + 150 * math.log(3) + 300 * math.log(2 * math.pi * s**2)))
        for s in scales
    ]
)
hardest = float((softened(0.03).posterior(iris).probs - kmeans.posterior(iris).probs).abs().max())
limit_error = abs(rescaled[-1] - J)
assert limit_error < 1e-3 and hardest < 1e-9
assert (np.diff(doubt) <= 0).all() and (np.diff(rescaled) >= 0).all()

fig, axes = plt.subplots(1, 4, figsize=(13, 3.6), width_ratios=[1, 1, 1, 1.3])
for ax, s in zip(axes, (2.0, 0.5, 0.1), strict=False):
    ax.scatter(*petals.T, s=12, color=blend(softened(s).posterior(iris).probs))
    ax.set(title=rf"$\sigma$ = {s:g} cm", xlabel="petal length (cm)")
axes[0].set_ylabel("petal width (cm)")
axes[3].semilogx(scales, 100 * doubt, color="black")
axes[3].invert_xaxis()
axes[3].set(xlabel=r"$\sigma$ (cm)", ylabel="what $q$ leaves to the other\nclusters (per cent)", title="doubt fades")
plt.show()

# %% [markdown]
# The log-likelihood has a limit, too. Subtract its constants and multiply by $-2 \sigma^2$: the result tends to the
# distortion.

# %%
fig, ax = plt.subplots(figsize=(7.5, 3.4))
ax.semilogx(scales, rescaled, color=BLUE, label=r"$-2\sigma^2\,(\log p(X) - \mathrm{constants})$")
ax.axhline(J, color="black", linestyle="--", label=f"distortion of k-means, $J$ = {J:.2f} cm²")
ax.invert_xaxis()
ax.set(xlabel=r"$\sigma$ (cm), shrinking to the right", ylabel="cm²", ylim=(-100, 100))
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# ## 6. What k-means cannot see
#
# In this mixture every cluster is a ball, and all balls have the same size. k-means makes the same assumption, whether
# it suits the data or not. Here are two long, thin groups, one above the other:

# %%
rng = np.random.default_rng(0)
group = rng.integers(0, 2, 400)
stretched = np.stack([rng.normal(0, 6, 400), rng.normal(0, 1, 400) + 5 * group], 1)
fits = {
    "kmeans": fit(KMeans(2, 2), stretched, EM(), restarts=10),
    "balls": fit(GaussianMixture(2, 2, "tied-spherical"), stretched, EM(), restarts=10),
    "ellipses": fit(GaussianMixture(2, 2, "tied"), stretched, EM(), restarts=10),
}
found = compare(stretched, **fits).frame()


def agreement(model):
    """The share of rows in the cluster of their own group, whichever number the cluster has."""
    right = float((model.posterior(stretched).probs.argmax(-1).numpy() == group).mean())
    return max(right, 1 - right)


found["rows with their group"] = [agreement(f.model) for f in fits.values()]
assert found["bic"].idxmin() == "ellipses"
found[["log_likelihood", "gap", "free_parameters", "bic", "rows with their group"]].round(3)

# %%
fig, axes = plt.subplots(1, 3, figsize=(12, 3.4), sharex=True, sharey=True)
for ax, (name, f) in zip(axes, fits.items(), strict=True):
    ax.scatter(*stretched.T, s=10, color=blend(f.model.posterior(stretched).probs))
    ax.set(title=f"{name}: BIC {found.loc[name, 'bic']:.0f}", xlabel="$x_1$", aspect="equal")
axes[0].set_ylabel("$x_2$")
plt.show()

# %% [markdown]
# The first two models cut across both groups, because this makes the balls smallest. BIC (lower is better) shows that
# they fit badly, without knowing the groups: two more parameters for the shape of the ellipse lower it by more
# than 300. This is an advantage of a likelihood: $J$ of one model cannot be compared with $J$ of another, but
# $\log p(X)$ can.
#
# Units cause a milder form of the same problem. k-means measures distances in the units of the columns. Measure $x_1$
# in another unit, and the clusters change. The mixture with ellipses does not depend on the units.

# %% [markdown]
# ## Exercises
#
# 1. Fit `KMeans(K, 4)` to iris for $K = 1, \dots, 8$ and plot $J$. Why can $J$ not choose $K$? Can BIC?
# 2. Divide $x_1$ in section 6 by 6 before the fit. Which of the three models now find the groups?
# 3. In section 4, how large can the price of one row be with $K$ clusters? Where would that row lie?

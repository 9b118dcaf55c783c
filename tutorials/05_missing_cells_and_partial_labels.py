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
# # Missing cells and partial labels
#
# A latent variable is a column of the table that is not observed. In real tables some values of this column (the
# labels) may be known, and some values of the other columns may be missing. EM treats both in the same way: it
# averages over what is unknown, given what is known. A cell is one value of the table, in one row and one column.
#
# 1. From complete to incomplete data: labels
# 2. What labels are worth
# 3. Missing cells, and two ways to get them wrong
# 4. The E-step for a row with gaps
# 5. Filling the gaps, and how far off that may be
# 6. When it works: missing at random
# 7. Labels and cells together
#
# It runs in well under a minute on a laptop.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from lowerbound import datasets
from lowerbound.inference import EM, align, fit
from lowerbound.models import GaussianMixture

torch.set_default_dtype(torch.float64)  # everything here is in double precision

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#767676"  # Okabe & Ito, and a grey
plt.rcParams.update({"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "font.size": 12})
plt.rcParams.update({"lines.linewidth": 2, "legend.frameon": False, "figure.constrained_layout.use": True})

# %% [markdown]
# ## 1. From complete to incomplete data: labels
#
# Simulate rows $x_i$ together with the component $z_i$ of each. With $X$ and $Z$ the data are **complete**, and the
# maximum likelihood estimates are shares and averages:
#
# $$\pi_k = \frac{N_k}{N}, \qquad \mu_k = \frac{1}{N_k} \sum_{z_i = k} x_i, \qquad
# \Sigma_k = \frac{1}{N_k} \sum_{z_i = k} (x_i - \mu_k)(x_i - \mu_k)^\top.$$
#
# With $X$ alone they are **incomplete**. EM replaces the labels by responsibilities. With `labels` you can give any
# part of the labels: the component where it is known, $-1$ where not. A known label is a responsibility of exactly 1.

# %%
truth = GaussianMixture(2, 2)
truth.weights = torch.tensor([0.4, 0.6])
truth.family.loc = torch.tensor([[0.0, 0.0], [2.2, 0.6]])
truth.family.scale_tril = torch.tensor([[[1.0, 0.0], [0.4, 0.8]], [[0.7, 0.0], [-0.5, 0.9]]])
x, z = truth.sample(150, seed=3, labels=True)

complete = fit(GaussianMixture(2, 2), x, EM(), labels=z)
hidden = fit(GaussianMixture(2, 2), x, EM(), restarts=10)

counted = [(z == k).double().mean() for k in (0, 1)]
averaged = torch.stack([x[z == k].mean(0) for k in (0, 1)])
spread = torch.stack([torch.cov(x[z == k].T, correction=0) for k in (0, 1)])
moments = complete.model.family.moments()
closed_form_error = max(
    float((complete.model.weights.detach() - torch.stack(counted)).abs().max()),
    float((moments.mean - averaged).abs().max()),
    float((moments.covariance - spread).abs().max()),
)
assert closed_form_error < 1e-12 and len(complete.bounds) == 3

hidden.model.permute(align(hidden.model, complete.model, x))
pd.concat({"Z known": complete.model.summary(), "Z hidden": hidden.model.summary()}).round(2)

# %% [markdown]
# With all labels known, the first M-step gives the final estimates. The other passes only detect convergence. Note
# that with labels `bounds` are means of $\log p(x_i, z_i)$, which is lower than $\log p(x_i)$ by
# $-\log p(z_i \mid x_i)$. To compare the two fits, use the same score for both: the log density of **new** rows.

# %%
new, _ = truth.sample(20_000, seed=4, labels=True)
held = {
    "Z known": complete.model.bound(new).mean(),
    "Z hidden": hidden.model.bound(new).mean(),
    "truth": truth.bound(new).mean(),
}
pd.Series({name: float(value) for name, value in held.items()}, name="nats per new row").to_frame().round(4)

# %% [markdown]
# ## 2. What labels are worth
#
# One table proves little. So we draw thirty tables of 60 rows each, and reveal more and more of their labels. Without
# labels EM also has to find the groups, and it may converge to an optimum that has nothing to do with them.

# %%
shares = [0.0, 0.05, 0.1, 0.25, 0.5, 1.0]
lost = np.zeros((30, len(shares)))
for table in range(30):
    rows, parts = truth.sample(60, seed=100 + table, labels=True)
    turn = torch.rand(60, generator=torch.Generator().manual_seed(table))
    for j, share in enumerate(shares):
        known = torch.where(turn < share, parts, -1)
        model = fit(GaussianMixture(2, 2, prior="weak"), rows, EM(tol=1e-7), labels=known, seed=table).model
        lost[table, j] = float((truth.bound(new[:4000]) - model.bound(new[:4000])).mean())
mean, error = lost.mean(0), lost.std(0) / 30**0.5

fig, ax = plt.subplots(figsize=(7.5, 3.8))
ax.errorbar(range(len(shares)), mean, 2 * error, fmt="o-", color=BLUE, capsize=4)
ax.set_xticks(range(len(shares)), [f"{100 * share:g} %" for share in shares])
ax.set(xlabel="share of labels that are known", ylabel="nats per new row below the truth", ylim=(0, None))
ax.set_title("what is lost by not knowing labels")
plt.show()

# %% [markdown]
# The bars are two standard errors over tables. At 100 % the remaining loss comes from estimating eleven numbers from
# 60 rows. (Wilks' theorem gives $11 / (2 \cdot 60) \approx 0.09$ nats. It is for many rows; with 60 the loss is a
# little larger.) Everything above that comes from not knowing $Z$. A few labels of 60 rows have hardly any effect.

# %% [markdown]
# ## 3. Missing cells, and two ways to get them wrong
#
# Now values of the other columns are missing. The data are 272 eruptions of Old Faithful, with their length and the
# wait until the next. We delete a fifth of the cells at random. `NaN` marks a missing value.

# %%
faithful = datasets.load("faithful").to_numpy()
rng = np.random.default_rng(0)
gone = rng.random(faithful.shape) < 0.2
gaps = np.where(gone, np.nan, faithful)
print(f"{gone.sum()} of {gone.size} cells are missing, {gone.any(1).sum()} of {len(gaps)} rows miss some")

# %% [markdown]
# The usual remedies are to **drop** rows with missing values (gaps), or to **fill** each gap with the mean of its
# column. A mixture needs neither. The likelihood of a row is the likelihood of its observed values,
#
# $$p(x_i^{\text{seen}}) = \sum_k \pi_k \int p(x_i \mid z_i = k)\, dx_i^{\text{missing}},$$
#
# so you can pass the table as it is.

# %%
whole = fit(GaussianMixture(2, 2), faithful, EM(), restarts=5).model
candidates = {
    "gaps as they are": gaps,
    "rows with gaps dropped": gaps[~gone.any(1)],
    "gaps filled with means": np.where(gone, np.nanmean(gaps, axis=0), gaps),
}
models = {name: fit(GaussianMixture(2, 2), table, EM(), restarts=10).model for name, table in candidates.items()}
for model in models.values():
    model.permute(align(model, whole, faithful))


def describe(model):
    """How well the model fits the table without gaps, one standard deviation, and one weight."""
    at = model.family.moments()
    return {
        "nats per row of the whole table": float(model.bound(faithful).mean()),
        "s.d. of long waits": float(at.covariance[model.weights.argmax(), 1, 1].sqrt()),
        "weight of long eruptions": float(model.weights.detach().max()),
    }


table = pd.DataFrame({"nothing missing": describe(whole), **{name: describe(m) for name, m in models.items()}}).T
table.round(3)

# %% [markdown]
# The fit to the table with its gaps comes closest to the fit to the complete table. Dropping rows loses the observed
# values of these rows, which matters little here. Filling with means is much worse: it creates rows unlike the real
# ones.

# %%
filled = candidates["gaps filled with means"]
fig, axes = plt.subplots(1, 2, figsize=(10.5, 4), sharex=True, sharey=True)
by_model = models["gaps as they are"].impute(gaps).values.numpy()
torn = gone.any(1) & ~gone.all(1)
for ax, rows, title in zip(axes, (filled, by_model), ("means of the columns", "the mixture's own"), strict=True):
    ax.scatter(*faithful[~gone.any(1)].T, s=14, color=GREY, alpha=0.5, label="rows without gaps")
    ax.scatter(*rows[torn].T, s=26, marker="x", linewidth=1.5, color=ORANGE, label="rows with a gap, filled")
    ax.set(xlabel="eruption, minutes", title=title)
axes[0].set_ylabel("wait, minutes")
axes[0].legend(loc="upper left")
plt.show()

# %% [markdown]
# ## 4. The E-step for a row with gaps
#
# Given the observed cells $o$ and the component, the missing cells $m$ of a Gaussian are Gaussian again:
#
# $$\mathbb E[x_m \mid x_o] = \mu_m + \Sigma_{mo} \Sigma_{oo}^{-1} (x_o - \mu_o), \qquad
# \mathrm{Cov}[x_m \mid x_o] = \Sigma_{mm} - \Sigma_{mo} \Sigma_{oo}^{-1} \Sigma_{om}.$$
#
# The M-step needs sums of $x$ and $x x^\top$, so the E-step computes their expectations. $\mathbb E[x_m]$ replaces a
# missing value, and the product of two missing values gets their covariance as well. Without the covariance every
# component becomes too narrow. This happens whenever gaps are only filled in, even with the best prediction. The code
# below writes out one pass for one component.

# %%
at_start = fit(GaussianMixture(1, 2), gaps, EM(), max_passes=1).model  # the start that `fit` draws, no M-step yet
mu, sigma = (part[0].numpy() for part in (at_start.family.moments().mean, at_start.family.moments().covariance))
sum_x, sum_xx = np.zeros(2), np.zeros((2, 2))
for row in gaps:
    o, m = ~np.isnan(row), np.isnan(row)
    x_hat, cov = mu.copy(), np.zeros((2, 2))
    slope = sigma[np.ix_(m, o)] @ np.linalg.inv(sigma[np.ix_(o, o)])
    x_hat[o] = row[o]
    x_hat[m] = mu[m] + slope @ (row[o] - mu[o])
    cov[np.ix_(m, m)] = sigma[np.ix_(m, m)] - slope @ sigma[np.ix_(o, m)]
    sum_x += x_hat
    sum_xx += np.outer(x_hat, x_hat) + cov
mean_by_hand = sum_x / len(gaps)
covariance_by_hand = sum_xx / len(gaps) - np.outer(mean_by_hand, mean_by_hand)

at_start.maximize(at_start.expect(gaps))
after = at_start.family.moments()
by_hand_error = max(
    np.abs(after.mean[0].numpy() - mean_by_hand).max(), np.abs(after.covariance[0].numpy() - covariance_by_hand).max()
)
assert by_hand_error < 1e-9
print(f"largest difference between the loop and expect, maximize: {by_hand_error:.1e}")

# %% [markdown]
# The bound is again the log-likelihood, now of the observed values. It never decreases.

# %%
run = fit(GaussianMixture(2, 2), gaps, EM(tol=0.0), max_passes=40)
smallest_rise = float(run.bounds.diff().min())
assert smallest_rise > -1e-12
fig, ax = plt.subplots(figsize=(7.5, 3.2))
ax.semilogy(range(1, 40), (run.bounds[-1] - run.bounds[:-1]).clamp(min=1e-16), color=BLUE)
ax.set(xlabel="pass", ylabel="nats per row below the end", title="EM on a table with gaps climbs like any other")
plt.show()

# %% [markdown]
# ## 5. Filling the gaps, and how far off that may be
#
# `impute` returns the posterior mean and the posterior standard deviation of each missing value. `draw_missing` draws
# complete tables, each with its gaps filled differently (multiple imputation). Compute the quantity of interest from
# each of these tables. The spread of the results shows the uncertainty that the gaps cause. Quantiles of the draws are
# intervals. The figure shows those of the missing waits whose eruption was observed, beside the values that we
# deleted.

# %%
model = models["gaps as they are"]
filled, draws = model.impute(gaps), model.draw_missing(gaps, draws=500, seed=0).numpy()
low, high = np.quantile(draws, [0.05, 0.95], axis=0)
here = np.flatnonzero(gone[:, 1] & ~gone[:, 0])
here = here[np.argsort(faithful[here, 0])]

fig, ax = plt.subplots(figsize=(9, 4))
ax.vlines(faithful[here, 0], low[here, 1], high[here, 1], color=BLUE, linewidth=3, alpha=0.35, label="90 % interval")
ax.plot(faithful[here, 0], filled.values[here, 1], "_", color=BLUE, markersize=9, label="posterior mean")
ax.plot(faithful[here, 0], faithful[here, 1], "o", color=ORANGE, markersize=5, label="what was deleted")
ax.set(
    xlabel="eruption, minutes (seen)", ylabel="wait, minutes (missing)", title="most of what was deleted lies inside"
)
ax.legend()
plt.show()

# %% [markdown]
# One table has few gaps. So we repeat this for twenty, each with other cells deleted:

# %%
inside, squared, by_mean = [], [], []
for again in range(20):
    mask = np.random.default_rng(1000 + again).random(faithful.shape) < 0.2
    holes = np.where(mask, np.nan, faithful)
    fitted = fit(GaussianMixture(2, 2), holes, EM(tol=1e-7), seed=again).model
    ends = np.quantile(fitted.draw_missing(holes, draws=200, seed=again).numpy(), [0.05, 0.95], axis=0)
    inside.append(((ends[0] <= faithful) & (faithful <= ends[1]))[mask])
    off = (fitted.impute(holes).values.numpy() - faithful) / faithful.std(0)
    squared.append(off[mask] ** 2)
    by_mean.append((((np.nanmean(holes, axis=0) - faithful) / faithful.std(0))[mask]) ** 2)
coverage = float(np.concatenate(inside).mean())
explained = float(1 - np.concatenate(squared).sum() / np.concatenate(by_mean).sum())
print(f"the 90 % intervals hold {100 * coverage:.1f} % of {len(np.concatenate(inside))} deleted cells")
print(f"the squared error is {100 * explained:.0f} % below that of the column means")

# %% [markdown]
# The coverage is a little less than 90 per cent. The intervals treat the fitted parameters as the true ones. They also
# treat eruptions as a mixture of two Gaussians, which is only approximately right.

# %% [markdown]
# ## 6. When it works: missing at random
#
# All of this rests on one assumption, *missing at random* (Rubin, 1976): whether a cell is missing may depend on the
# **observed** values, not on the missing ones. We compare a table for which this is true with one for which it is not.
# Both lose about half of their waits: the first after long eruptions, which are observed; the second where the wait
# itself was long.

# %%
keep = np.random.default_rng(5).random(len(faithful)) < 0.15  # keep a few, from which the model can learn
seen_decides = (faithful[:, 0] > 3.9) & ~keep
itself_decides = (faithful[:, 1] > 75) & ~keep
rows = {}
for name, lost_wait in {"long eruptions (seen)": seen_decides, "long waits (unseen)": itself_decides}.items():
    holes = faithful.copy()
    holes[lost_wait, 1] = np.nan
    one = fit(GaussianMixture(2, 2), holes, EM(), restarts=10).model
    estimate = float((one.weights @ one.family.loc[:, 1]).detach())
    rows[name] = {"missing": lost_wait.sum(), "rows left": np.nanmean(holes[:, 1]), "mixture": estimate}
means = pd.DataFrame(rows).T.assign(truth=faithful[:, 1].mean()).rename_axis("waits are missing for")
means.round(1)

# %% [markdown]
# In both tables the average of the remaining waits is far too low. The mixture corrects the first almost completely,
# because the observed length of the eruption predicts the missing wait. It cannot correct the second. Among the rows
# with one eruption length those with long waits are missing, and nothing in the table shows this. No method can
# correct it without knowing why the values are missing.

# %% [markdown]
# ## 7. Labels and cells together
#
# The label is one more column, so a table may lack labels and other values at once. From the iris data we hide the
# species of all flowers except five of each, and delete a fifth of the measurements.

# %%
iris = datasets.load("iris")
measured, species = iris.iloc[:, :4].to_numpy(dtype=float), np.repeat([0, 1, 2], 50)
rng = np.random.default_rng(1)
holes = np.where(rng.random(measured.shape) < 0.2, np.nan, measured)
known = np.full(150, -1)
for k in range(3):
    known[rng.choice(np.flatnonzero(species == k), 5, replace=False)] = k
hidden_species = known < 0

right = {}
for name, cells in {"all cells": measured, "a fifth missing": holes}.items():
    for labelled, labels in {"no labels": None, "15 labels": known}.items():
        fitted = fit(GaussianMixture(3, 4, "tied"), cells, EM(), labels=labels, restarts=10).model
        guess = fitted.predict(cells).numpy()
        if labels is None:  # no names: give each component the species of most of its flowers
            guess = np.array([np.bincount(species[guess == k], minlength=3).argmax() for k in range(3)])[guess]
        right[name, labelled] = (guess == species)[hidden_species].mean()
accuracy = pd.Series(right).unstack()[["no labels", "15 labels"]]
(100 * accuracy).round(1).rename_axis("per cent of species right")

# %% [markdown]
# These groups are found without labels, too. The fifteen labels add names: component 0 *is* setosa, whatever the
# start. All fits in this tutorial maximize one likelihood: that of the observed values and labels.
#
# All of this works in the same way for every family with independent columns, for Gaussians and Student-t of any
# covariance, and for tables of mixed columns, with row weights and priors, by EM and by SVI.

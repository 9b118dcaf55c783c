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
# A latent variable is a column of the table that nobody has seen. Real tables have more gaps than that one: some
# labels are known after all, and some cells of the other columns are not. EM does not mind which: what is unknown
# is averaged over, given what is known.
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
# Simulate rows $x_i$ together with the component $z_i$ each is from. With $X$ and $Z$ the data are **complete**, and
# maximum likelihood is a matter of counting and averaging:
#
# $$\pi_k = \frac{N_k}{N}, \qquad \mu_k = \frac{1}{N_k} \sum_{z_i = k} x_i, \qquad
# \Sigma_k = \frac{1}{N_k} \sum_{z_i = k} (x_i - \mu_k)(x_i - \mu_k)^\top.$$
#
# With $X$ alone they are **incomplete**. EM puts the responsibilities where the labels were. `labels` may be anything
# between: the component where it is known, $-1$ where not. A known label is a responsibility of exactly 1.

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
# With all labels one M-step is the answer; the other passes only find that nothing is left to gain. Note what `bounds`
# are: with labels, $\log p(x_i, z_i)$, which is lower than $\log p(x_i)$ by the surprise at $z_i$. To compare the two
# fits ask both the same question: how likely are **new** rows?

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
# One table proves little, so let us draw thirty, of 60 rows each, and reveal more and more of their labels. Without any
# label EM also has to guess which group is which, and may settle on an optimum that has nothing to do with the groups.

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
# The bars are two standard errors over tables. At 100 % what is left is the price of estimating eleven numbers from 60
# rows ($11 / (2 \cdot 60) \approx 0.09$ nats by Wilks' theorem, which is for many rows; with 60 it is a little more);
# everything above that is the price of not knowing $Z$. A few labels of 60 rows hardly show.

# %% [markdown]
# ## 3. Missing cells, and two ways to get them wrong
#
# Now the other gaps. Take Old Faithful, 272 eruptions with their length and the wait until the next, and delete a
# fifth of the cells at random. `NaN` says that a cell is missing.

# %%
faithful = datasets.load("faithful").to_numpy()
rng = np.random.default_rng(0)
gone = rng.random(faithful.shape) < 0.2
gaps = np.where(gone, np.nan, faithful)
print(f"{gone.sum()} of {gone.size} cells are missing, {gone.any(1).sum()} of {len(gaps)} rows miss some")

# %% [markdown]
# The usual first aid is to **drop** rows with gaps, or to **fill** each gap with the mean of its column. A mixture
# needs neither. The likelihood of a row is that of the cells that were seen,
#
# $$p(x_i^{\text{seen}}) = \sum_k \pi_k \int p(x_i \mid z_i = k)\, dx_i^{\text{missing}},$$
#
# so pass the table as it is.

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
    """What a reader of this table wants to know: how well it fits the whole table, and one of its spreads."""
    at = model.family.moments()
    return {
        "nats per row of the whole table": float(model.bound(faithful).mean()),
        "s.d. of long waits": float(at.covariance[model.weights.argmax(), 1, 1].sqrt()),
        "weight of long eruptions": float(model.weights.detach().max()),
    }


table = pd.DataFrame({"nothing missing": describe(whole), **{name: describe(m) for name, m in models.items()}}).T
table.round(3)

# %% [markdown]
# Taking the gaps as they are comes closest to what the whole table would have told. Dropping wastes what the torn rows
# still say, which here is little. Filling with means is much worse: it invents rows.

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
# Given the seen cells $o$ and the component, the missing cells $m$ of a Gaussian are Gaussian again:
#
# $$\mathbb E[x_m \mid x_o] = \mu_m + \Sigma_{mo} \Sigma_{oo}^{-1} (x_o - \mu_o), \qquad
# \mathrm{Cov}[x_m \mid x_o] = \Sigma_{mm} - \Sigma_{mo} \Sigma_{oo}^{-1} \Sigma_{om}.$$
#
# The M-step needs sums of $x$ and $x x^\top$, so the E-step hands it their expectations: $\mathbb E[x_m]$ in place of
# the gap, and for the product of two gaps the covariance besides. Leaving that out, as filling in even the best guess
# does, makes every component too narrow. Written out for one component, one pass of the loop is this.

# %%
at_start = fit(GaussianMixture(1, 2), gaps, EM(), max_passes=1).model  # its own start, no M-step yet
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
# And the bound, which is again the likelihood, of what was seen, never falls.

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
# `impute` gives each missing cell its posterior mean, and the standard deviation of what it might have been.
# `draw_missing` draws whole tables, gaps filled differently each time (multiple imputations): whatever you compute from
# a table, compute it from each of them, and the spread of the answers tells what the gaps cost you. Quantiles of the
# draws are intervals. Here are those of the missing waits whose eruption was seen, beside what we deleted.

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
# One table has few gaps. Over twenty, deleted anew each time:

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
# A little less than 90 per cent: the intervals take the fitted parameters for the true ones, and eruptions for mixtures
# of two Gaussians, which they are only nearly.

# %% [markdown]
# ## 6. When it works: missing at random
#
# All of this rests on one assumption: whether a cell is missing may depend on what **was seen**, not on what is
# missing (Rubin, 1976). Let us break it. Both tables lose about half of their waits: one after long eruptions, which we
# see; the other where the wait itself was long.

# %%
keep = np.random.default_rng(5).random(len(faithful)) < 0.15  # a few stay, or there would be nothing to learn from
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
# Both averages of the rows that are left are far too low. The mixture mends the first one nearly whole, because the
# length of the eruption, which it sees, tells it what kind of wait was lost. It cannot mend the second: among the rows
# with one eruption length those with long waits are missing, and nothing in the table says so. No method can know that
# without being told how the cells got lost.

# %% [markdown]
# ## 7. Labels and cells together
#
# The label is one more column, so a table may have both kinds of gaps. Take the irises, hide the species of all but
# five flowers of each, and delete a fifth of the measurements.

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
        if labels is None:  # components without names: give each the species most of its flowers have
            guess = np.array([np.bincount(species[guess == k], minlength=3).argmax() for k in range(3)])[guess]
        right[name, labelled] = (guess == species)[hidden_species].mean()
accuracy = pd.Series(right).unstack()[["no labels", "15 labels"]]
(100 * accuracy).round(1).rename_axis("per cent of species right")

# %% [markdown]
# These groups are found without labels, too. What fifteen labels add are names: component 0 *is* setosa, whatever the
# start. And all of it was one likelihood: of the cells and the labels that were seen.
#
# Everything here works alike for every family with independent columns, for Gaussians and Student-t of any covariance,
# and for tables of mixed columns, with row weights and priors, by EM and by SVI.

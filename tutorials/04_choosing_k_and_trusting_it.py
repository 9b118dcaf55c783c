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
# # Choosing K, and trusting it
#
# `fit` returns a model. Is it the best one? Is it real, or an artefact? How many components are right? How much would
# its numbers change with other data? This tutorial asks a fitted mixture these four questions.
#
# 1. Is it the best? Local optima
# 2. Is it real? Spikes
# 3. How many? What BIC, ICL and held-out rows answer
# 4. When they disagree
# 5. Old Faithful
# 6. How far off? Standard errors and the bootstrap
# 7. Would another table have said the same?
#
# It runs in about a minute on a laptop.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from matplotlib.colors import to_rgb

from lowerbound import datasets
from lowerbound.inference import EM, bootstrap, fit, select, standard_errors
from lowerbound.models import GaussianMixture

torch.set_default_dtype(torch.float64)  # everything here is in double precision

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#767676"  # Okabe & Ito, and a grey
plt.rcParams.update({"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "font.size": 12})
plt.rcParams.update({"lines.linewidth": 2, "legend.frameon": False, "figure.constrained_layout.use": True})

# %% [markdown]
# ## 1. Is it the best? Local optima
#
# EM converges to a local optimum near its start. The likelihood of a mixture has many local optima, so use many
# restarts. `optima` lists the optima that the runs found, best first, and how many runs found each.

# %%
iris = datasets.load("iris").iloc[:, :4].to_numpy(dtype=float)
many = fit(GaussianMixture(3, 4), iris, EM(tol=1e-8), restarts=100, seed=1)
ends = pd.DataFrame([(o.bound, o.count) for o in many.optima if not o.collapsed], columns=["bound", "runs"])
collapsed = sum(o.count for o in many.optima if o.collapsed)
assert ends["runs"].sum() + collapsed == 100
print(
    f"100 starts, {len(ends)} different optima; the best was found {ends['runs'][0]} times; {collapsed} runs collapsed"
)

fig, ax = plt.subplots(figsize=(7.5, 3.3))
ax.vlines(150 * ends["bound"], 0, ends["runs"], color=[ORANGE] + [BLUE] * (len(ends) - 1), linewidth=5)
ax.set(xlabel="log-likelihood at the end of a run, nats", ylabel="runs", ylim=(0, None))
ax.set_title("iris, three components: where a hundred runs end")
plt.show()

# %% [markdown]
# The best of these, $-180.185$, is the published one. About one run in three misses it. **If the best optimum was
# found only once, use more restarts.** If many restarts found it, you can stop.

# %% [markdown]
# ## 2. Is it real? Spikes
#
# The likelihood of a Gaussian mixture has no upper bound: put the mean of one component on a single row and let its
# width go to zero (tutorial 01). `fit` detects runs that approach such a singularity. It counts them in `optima` as
# collapsed, and never returns them. Here are the velocities of 82 galaxies, with one to ten components.

# %%
galaxies = datasets.load("galaxies").to_numpy()[:, -1:] / 1000
rows = []
for k in range(1, 11):
    found = fit(GaussianMixture(k, 1), galaxies, EM(tol=1e-7), restarts=30, seed=0)
    scale = found.model.family.moments().covariance.flatten().sqrt()
    thinnest = int(scale.argmin())
    rows.append(
        {
            "K": k,
            "collapsed": sum(o.count for o in found.optima if o.collapsed),
            "best found": found.optima[0].count,
            "narrowest s.d.": float(scale[thinnest]),
            "its rows": float(found.model.weights[thinnest].detach()) * len(galaxies),
        }
    )
spikes = pd.DataFrame(rows).set_index("K")
spikes.round(3)

# %% [markdown]
# Some runs come close to a collapse without reaching it. From K = 5 on the best optimum has a component of two or
# three galaxies that happen to have similar velocities. This is a proper local maximum, and a high one, but hardly a
# group. The last two columns show it. `prior="weak"` adds the weight of a fraction of a row to each component. This
# hardly changes a real group, but it makes a spike much less probable.

# %%
weak = fit(GaussianMixture(6, 1, prior="weak"), galaxies, EM(tol=1e-7), restarts=30, seed=0)
weak.model.summary(["velocity, 1000 km/s"]).round(2)

# %% [markdown]
# ## 3. How many? What BIC, ICL and held-out rows answer
#
# The likelihood grows with every component, so it cannot choose the number of components. Three scores can:
#
# * **BIC** $= -2 \log L + p \log N$ has a penalty for every parameter. It shows how many components the *density*
#   needs;
# * **ICL** adds twice the entropy of the assignments to BIC. It shows how many *groups* can be told apart;
# * **held-out** nats per row show which model best predicts rows that were not used to fit it. This score has no
#   penalty and needs no approximation.
#
# `select` fits every candidate with several restarts and puts the scores into one table. The first example is
# simulated, so the truth is known: three components with one common covariance.

# %%
truth = GaussianMixture(3, 2, "tied")
truth.weights = torch.tensor([0.45, 0.35, 0.2])
truth.family.loc = torch.tensor([[0.0, 0.0], [3.5, 0.5], [1.0, 3.2]])
truth.family.scale_tril = torch.tensor([[1.0, 0.0], [0.5, 0.7]])
x = truth.sample(250, seed=0)

candidates = {f"{c}, K={k}": GaussianMixture(k, 2, c) for c in ("full", "tied", "spherical") for k in range(1, 6)}
known = select(x, candidates, EM(tol=1e-6), restarts=4, folds=3)
known.frame()[["free_parameters", "log_likelihood", "bic", "icl", "held_out", "best_found"]].round(2)

# %%
display(known.plot())

# %% [markdown]
# `print(known)` shows the table with stars and standard errors. The figure has one line for each structure, and shows
# how far each candidate is from the best.

# %%
chosen = {criterion: known.best(criterion) for criterion in ("bic", "icl", "held_out")}
assert chosen["bic"] == "tied, K=3"
print(chosen)

# %% [markdown]
# ## 4. When they disagree
#
# The scores answer different questions. Here are two groups. One of them is not Gaussian but a cross, and a mixture
# needs two components for it. BIC chooses three components, and is right: the density needs three. ICL chooses two,
# and is right as well: for a row in the middle of the cross nobody can tell from which of the two bars it is.

# %%
rng = np.random.default_rng(0)
bars = [rng.standard_normal((120, 2)) * sd for sd in ([1.5, 0.4], [0.4, 1.5])]
crossed = np.vstack([*bars, [4.5, 3.5] + 0.8 * rng.standard_normal((120, 2))])
cross_selection = select(
    crossed, {f"K={k}": GaussianMixture(k, 2) for k in range(1, 6)}, EM(tol=1e-6), restarts=5, folds=3
)
opinions = {criterion: int(cross_selection.best(criterion)[-1]) for criterion in ("bic", "icl", "held_out")}

fig, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True, sharey=True)
palette = np.array([to_rgb(colour) for colour in (BLUE, ORANGE, GREEN)])
for ax, criterion in zip(axes, ("bic", "icl"), strict=True):
    r = cross_selection.fits[cross_selection.best(criterion)].model.posterior(crossed).probs.numpy()
    ax.scatter(*crossed.T, s=12, color=np.clip(r @ palette[: r.shape[1]], 0, 1))
    ax.set(title=f"{criterion.upper()}: {r.shape[1]} components", xlabel="$x_1$", aspect="equal")
axes[0].set_ylabel("$x_2$")
plt.show()
print(opinions)

# %% [markdown]
# ## 5. Old Faithful
#
# Two groups are easy to see. What do the scores say?

# %%
faithful = datasets.load("faithful")
structures = ("full", "tied", "diag")
geyser = select(
    faithful,
    {f"{c}, K={k}": GaussianMixture(k, 2, c) for c in structures for k in range(1, 5)},
    EM(tol=1e-6),
    restarts=8,
    folds=None,
)
best_bic, best_icl = geyser.best("bic"), geyser.best("icl")
print(f"BIC: {best_bic}; ICL: {best_icl}")
display(geyser.plot("bic"))

# %% [markdown]
# The R package mclust chooses the same model by BIC: three components of one shape (its `EEE,3`). The third lies
# beside one of the others, because the long eruptions are not quite Gaussian. ICL counts groups, and chooses two.

# %% [markdown]
# ## 6. How far off? Standard errors and the bootstrap
#
# A fit is an estimate from 272 rows. How much would it change with 272 other rows? There are two answers:
#
# * the **observed information**: the more sharply the log-likelihood bends at its maximum, the better the data
#   determine a parameter. Take minus its second derivatives (automatic, and exact). The inverse of this matrix is the
#   covariance of the estimates when there are many rows;
# * the **bootstrap**: draw rows from the table with replacement, fit again, and measure the spread of the estimates.
#   Labels may switch between fits, so each fit is aligned with the original.

# %%
full = fit(GaussianMixture(2, 2), faithful, EM(tol=1e-12), restarts=5)
by_information = standard_errors(full, faithful)
by_bootstrap = bootstrap(full, faithful, repeats=200, seed=0)
both = pd.DataFrame(
    {
        "estimate": by_information.frame()["estimate"],
        "s.e., information": by_information.frame()["standard_error"],
        "s.e., bootstrap": by_bootstrap.frame()["standard_error"],
    }
).dropna()
both.round(4)

# %%
j = int(full.model.weights.argmax())
draws = by_bootstrap.draws["weights"][:, j].numpy()
fig, ax = plt.subplots(figsize=(7.5, 3.6))
ax.hist(draws, bins=25, density=True, color=BLUE, alpha=0.4, label="200 bootstrap fits")
centre, width = float(full.model.weights[j].detach()), float(by_information["weights"][j])
at = np.linspace(draws.min() - 0.01, draws.max() + 0.01, 200)
ax.plot(
    at, np.exp(-0.5 * ((at - centre) / width) ** 2) / (width * np.sqrt(2 * np.pi)), color=ORANGE, label="information"
)
ax.set(xlabel="weight of the long eruptions", yticks=[], title="two ways to say how well it is known")
ax.legend()
plt.show()

# %% [markdown]
# The two agree on weights and locations. They agree less on the scales, whose estimates are far from normally
# distributed with so few rows. Where the two disagree, trust the bootstrap. Where fits of resamples collapse (the
# bootstrap counts them), trust neither.

# %% [markdown]
# ## 7. Would another table have said the same?
#
# The choice of K is an estimate, too. We repeat it for resampled tables.

# %%
again = pd.Series(0, index=[f"{c}, K={k}" for c in ("full", "tied") for k in range(1, 5)], name="times chosen of 20")
few = {name: candidates[name] for name in again.index}
for repeat in range(20):
    drawn = faithful.sample(len(faithful), replace=True, random_state=repeat)
    again[select(drawn, few, EM(tol=1e-6), restarts=2, folds=None).best()] += 1
print(again[again > 0].to_string())

# %% [markdown]
# For no resampled table are one or two components chosen. How many more the *density* needs is not certain. In
# resampled tables some rows occur twice, so they lead to more components than new tables would. Report this
# uncertainty along with the chosen model.

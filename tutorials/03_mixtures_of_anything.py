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
# # Mixtures of anything
#
# EM does not need Gaussians. A mixture is a choice of $p(x \mid z = k)$. The two steps, the bound and the comparison
# are the same for every choice. This tutorial fits counts, yes-or-no answers, categories, images, tables of mixed
# types, and measurements with outliers. It also fits a family of your own, and one whose M-step has no formula.
#
# 1. Two steps for every model
# 2. Counts: deaths in the *Times*
# 3. Answers: latent classes
# 4. Images: digits in black and white
# 5. A family of your own, in a dozen lines
# 6. No formula for the M-step
# 7. Mixed tables
# 8. Outliers
#
# It runs in well under a minute on a laptop.

# %%
import copy
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro.distributions as dist
import torch
from pyro.nn import PyroParam
from torch.distributions import constraints

from lowerbound import datasets
from lowerbound.inference import EM, SVI, compare, elbo_gap, fit
from lowerbound.models import (
    BernoulliMixture,
    Categorical,
    CategoricalMixture,
    Family,
    FamilyOf,
    GaussianMixture,
    Mixture,
    NegativeBinomialMixture,
    Poisson,
    PoissonMixture,
    Product,
    StudentTMixture,
    check_family,
)

torch.set_default_dtype(torch.float64)  # everything here is in double precision

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#767676"  # Okabe & Ito, and a grey
plt.rcParams.update({"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "font.size": 12})
plt.rcParams.update({"lines.linewidth": 2, "legend.frameon": False, "figure.constrained_layout.use": True})

# %% [markdown]
# ## 1. Two steps for every model
#
# The latent $z_i \in \{1, \dots, K\}$ says which component row $x_i$ is from. All components are distributions of one
# family. With $\theta$ for the weights $\pi_k$ and the parameters of the components, EM repeats
#
# * **E-step**, $\theta$ fixed: $q = \arg\min_q \mathrm{KL}\big(q(Z) \,\|\, p(Z \mid X, \theta)\big)$, which is
#   $$q(z_i = k) = \frac{\pi_k\, p(x_i \mid z_i = k, \theta)}{\sum_l \pi_l\, p(x_i \mid z_i = l, \theta)};$$
# * **M-step**, $q$ fixed: $\theta = \arg\max_\theta \mathbb E_q[\log p(X, Z \mid \theta)]
#   = \arg\max_\theta \sum_i \sum_k q(z_i = k) \log\big(\pi_k\, p(x_i \mid z_i = k, \theta)\big)$.
#
# (In section 1.4.3 of the lecture notes the numerator is printed as $p(x_k \mid \dots)$; it must be
# $p(x_i \mid z_i = k)$. And the M-step takes the argmax *of* the expectation, which is not equal to the expectation.)
#
# In code these are the methods `expect` and `maximize`, which every model has. The example is a mixture of two Poisson
# distributions. The data are the numbers of women over 80 whose deaths the London *Times* announced on each of 1096
# days.

# %%
deaths = datasets.load("deaths")
x = torch.tensor(deaths.to_numpy(), dtype=torch.float64)
model = PoissonMixture(components=2, features=1)
model.weights = torch.tensor([0.5, 0.5])
model.family.rate = torch.tensor([[1.0], [3.0]])

old = copy.deepcopy(model)
q = old.posterior(x)
statistics = model.expect(x)  # E-step: responsibilities, and the sums that the M-step needs
model.maximize(statistics)  # M-step: weights and rates from the sums
model.summary(["deaths"]).round(4)

# %% [markdown]
# We compare the results with the formulas. First shift the log odds of $q$ by $b$ and compute the KL. Then fix $q$ and
# try other rates in the expected complete log-likelihood.

# %%
shifts = np.linspace(-2, 2, 41)
shifted = [torch.softmax(q.logits + torch.tensor([0.0, b]), -1) for b in shifts]
divergence = np.array([float(elbo_gap(old, x, other).kl.mean()) for other in shifted])


def expected(rates):
    """The expected complete log-likelihood, nats per row: q of the E-step, weights of the M-step, any rates."""
    log_joint = dist.Poisson(torch.as_tensor(rates)).log_prob(x) + model.weights.detach().log()
    return float((q.probs * log_joint).sum(-1).mean())


found = model.family.rate.detach().flatten()
tried = np.linspace(0.7, 4.2, 141)
by_first, by_second = (
    np.array([expected([r, found[1]]) for r in tried]),
    np.array([expected([found[0], r]) for r in tried]),
)
top = expected(found)
assert shifts[divergence.argmin()] == 0 and divergence.min() < 1e-12
assert top >= max(by_first.max(), by_second.max())

fig, axes = plt.subplots(1, 2, figsize=(12, 3.8))
axes[0].plot(shifts, divergence, color=BLUE)
axes[0].plot(0, 0, "o", color="black", markersize=9)
axes[0].annotate("expect", (0, 0), (0, 12), textcoords="offset points", ha="center")
axes[0].set(xlabel="$b$: nats by which $q$ favours the second", ylabel=r"KL$(q \,\|\, p(Z|X))$ per row")
axes[0].set_title("E-step: the smallest KL")
for curve, rate, colour, name in zip((by_first, by_second), found, (GREEN, ORANGE), ("first", "second"), strict=True):
    axes[1].plot(tried, curve, color=colour, label=f"rate of the {name}")
    axes[1].plot(rate, top, "o", color="black", markersize=9)
    axes[1].annotate("maximize", (float(rate), top), (0, 9), textcoords="offset points", ha="center")
axes[1].set(xlabel="deaths per day", ylabel="expected $\\log p(X, Z)$ per row", ylim=(top - 0.5, top + 0.09))
axes[1].set_title("M-step: the highest expectation")
axes[1].legend(loc="lower center")
plt.show()

# %% [markdown]
# ## 2. Counts
#
# Hasselblad (1969) fitted these data. Many authors have used them since, because EM converges slowly on them. The two
# rates are so close that no day can be assigned with certainty. With such uncertain responsibilities an M-step changes
# the parameters very little.

# %%
usual = fit(PoissonMixture(2, 1), deaths, EM(), max_passes=5000)
exact = fit(PoissonMixture(2, 1), deaths, EM(tol=1e-13), max_passes=5000)
svi = fit(PoissonMixture(2, 1), deaths, SVI("exact"))
order = exact.model.family.rate[:, 0].argsort()
deaths_weights, deaths_rates = exact.model.weights[order].tolist(), exact.model.family.rate[order, 0].tolist()
deaths_log_likelihood = float(exact.model.bound(deaths).sum())
gains = exact.bounds.diff()
slowness = float(gains[1000] / gains[999])
at_default = usual.model.weights.min().item()
print(f"log p(X) = {deaths_log_likelihood:.4f}")
print(f"weights {np.round(deaths_weights, 4)}, rates {np.round(deaths_rates, 4)}")
print(f"passes of EM: {len(usual.bounds)} to the default tol=1e-9, {len(exact.bounds)} until nothing is left to gain")
print(f"each pass leaves {100 * slowness:.1f} % of what there was to gain")
print(f"the smaller weight at the default tol: {at_default:.4f}")

# %% [markdown]
# The log-likelihood, the weights and the rates are the published ones. At the default `tol` the fourth digit of a
# weight has not converged yet. The bound is flat near its maximum, so the parameters converge later than the bound.
# Use a smaller `tol` if you need more digits of the parameters.

# %%
days = np.bincount(deaths["deaths"])
counts = np.arange(len(days))
one = fit(PoissonMixture(1, 1), deaths, EM())
likely = {
    name: len(deaths) * f.model.bound(torch.tensor(counts, dtype=torch.float64)[:, None]).exp().numpy()
    for name, f in {"one Poisson": one, "two": exact}.items()
}
best = max(float(f.bounds.max()) for f in (usual, exact, svi))

fig, axes = plt.subplots(1, 2, figsize=(12, 3.8))
axes[0].bar(counts, days, color=GREY, alpha=0.5, label="days counted")
axes[0].plot(counts, likely["one Poisson"], "s--", color=ORANGE, label="one Poisson expects")
axes[0].plot(counts, likely["two"], "o-", color=BLUE, label="a mixture of two expects")
axes[0].set(xlabel="deaths on a day", ylabel="days", xticks=counts, title="two rates fit, one does not")
axes[0].legend()
for name, f, colour in (("EM", exact, "black"), ("SVI, exact", svi, BLUE)):
    axes[1].plot(range(1, len(f.bounds) + 1), len(x) * (best - f.bounds).clamp(min=1e-12), color=colour, label=name)
axes[1].set(xlabel="pass", ylabel="nats below the top", yscale="log", ylim=(1e-6, 1e2), xlim=(0, 2000))
axes[1].set_title("EM: straight down, and slowly")
axes[1].legend()
plt.show()

# %% [markdown]
# Here gradient steps are faster: SVI comes within a thousandth of a nat of the maximum in a third of the passes that
# EM needs for it. Then its own `tol` stops the run.
#
# Which model is best? `compare` puts models on one scale. They may be of different families, as long as all give
# probabilities of the same counts. One negative binomial (a Poisson distribution whose rate has a gamma distribution)
# fits as well as two Poissons, with one parameter less.

# %%
counted = compare(
    deaths,
    poisson_1=one,
    poisson_2=exact,
    negative_binomial=fit(NegativeBinomialMixture(1, 1), deaths, EM()),
).frame()
counted[["log_likelihood", "free_parameters", "bic"]].round(3)

# %% [markdown]
# ## 3. Answers: latent classes
#
# Seven pathologists examined the same 118 slides and said carcinoma or not. What a slide truly shows is not observed.
# If the answers are independent *given* the truth, this is a mixture of Bernoulli columns, a latent class model. How
# many classes are there?

# %%
carcinoma = datasets.load("carcinoma")
classes = {k: fit(BernoulliMixture(k, 7), carcinoma, EM(tol=1e-8), restarts=5, max_passes=1500) for k in (1, 2, 3, 4)}
table = compare(carcinoma, **{f"k{k}": f for k, f in classes.items()}).frame()
assert table["bic"].idxmin() == "k3"
table[["log_likelihood", "free_parameters", "bic"]].round(3)

# %% [markdown]
# BIC chooses three, not two: besides "yes" and "no" there is a class of slides on which the pathologists disagree.

# %%
three = classes[3].model
order = three.family.probs.mean(-1).argsort()
said_yes = three.family.probs.detach()[order].numpy()
shares = three.weights.detach()[order].numpy()

fig, ax = plt.subplots(figsize=(8, 3))
ax.imshow(said_yes, cmap="Blues", vmin=0, vmax=1, aspect="auto")
for (row, column), p in np.ndenumerate(said_yes):
    ax.text(column, row, f"{100 * p:.0f} %", ha="center", va="center", color="white" if p > 0.5 else "black")
names = [f"{name}\n({100 * s:.0f} % of slides)" for name, s in zip(("healthy", "disputed", "ill"), shares, strict=True)]
ax.set_xticks(range(7), list(carcinoma.columns))
ax.set_yticks(range(3), names)
ax.set(xlabel="pathologist", title="how often each says carcinoma, by class")
plt.show()

# %% [markdown]
# The names of the classes are ours. The model had no labels, and nobody told it that D and F say yes so rarely.
#
# Columns with several **categories** work in the same way. You can pass a table of words as it is. `levels` is the
# number of categories of each column. Here are the people aboard the *Titanic*, in three latent classes:

# %%
titanic = datasets.load("titanic")
words = [list(titanic[name].cat.categories) for name in titanic]
aboard = fit(CategoricalMixture(3, [len(w) for w in words]), titanic, EM(tol=1e-6), max_passes=300)
aboard.model.summary(titanic.columns, words).T.round(2)

# %% [markdown]
# One class has the crew and other men, most of whom drowned. One has the third class with its families, who survived
# no more often. One has mostly women, three quarters of them from the first and second class of travel, and nearly all
# of them survived.

# %% [markdown]
# ## 4. Images
#
# The data are 1797 handwritten digits of 8 x 8 pixels, black or white: 64 yes-or-no answers each. The model has ten
# components and a weak prior. Without the prior, a pixel that is never black in one component would have probability
# zero there.

# %%
digits = datasets.load("binary_digits")
pixels = torch.tensor(digits.to_numpy())
ten = fit(BernoulliMixture(10, 64, prior="weak"), digits, EM(tol=1e-7), restarts=5)
alone = fit(BernoulliMixture(1, 64, prior="weak"), digits, EM())
nats_ten, nats_one = (float(f.model.bound(digits).mean()) for f in (ten, alone))
print(f"nats per image: {nats_one:.2f} with one component, {nats_ten:.2f} with ten")


def gallery(rows, labels, width, title):
    """Images in rows: each of `rows` is (m, 64), values 0 to 1."""
    fig, axes = plt.subplots(len(rows), width, figsize=(width, len(rows) + 0.5), squeeze=False)
    for line, images, label in zip(axes, rows, labels, strict=True):
        for ax, image in zip(line, images, strict=True):
            ax.imshow(image.reshape(8, 8), cmap="Greys", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    fig.suptitle(title)
    plt.show()


order = ten.model.canonical_order()
prototypes = ten.model.family.probs.detach()[order]
gallery([prototypes, ten.model.sample(10, seed=1)], ["prototypes", "samples"], 10, "ten components, without labels")

# %% [markdown]
# The first row shows what the components have learned: the probability that each pixel is black. Most look like one
# digit, and some like two. The second row shows draws from the model. They have the right shape, but each pixel is
# drawn independently of the others.
#
# A latent variable model also *fills in* missing values. Hide the lower half of an image, compute the posterior from
# the upper half alone, and average the prototypes with the posterior as weights:

# %%
shown = pixels[[0, 13, 4, 7, 10, 37, 1, 16, 20, 22]]
ink, weights = ten.model.family.probs.detach(), ten.model.weights.detach()
upper = dist.Bernoulli(ink[:, :32]).log_prob(shown[:, None, :32]).sum(-1) + weights.log()
filled = torch.softmax(upper, -1) @ ink
halves = torch.cat([shown[:, :32], torch.full((10, 32), 0.25)], -1)
completed = torch.cat([shown[:, :32], filled[:, 32:]], -1)
gallery([shown, halves, completed], ["image", "seen", "filled in"], 10, "the lower half, guessed from the upper")

lower = pixels[:, 32:]
guess = torch.softmax(dist.Bernoulli(ink[:, :32]).log_prob(pixels[:, None, :32]).sum(-1) + weights.log(), -1) @ ink
by_mixture = float(dist.Bernoulli(guess[:, 32:]).log_prob(lower).sum(-1).mean())
by_average = float(dist.Bernoulli(alone.model.family.probs.detach()[0, 32:]).log_prob(lower).sum(-1).mean())
print(f"the lower half, nats per image: {by_mixture:.2f} filled in, {by_average:.2f} by the average image")

# %% [markdown]
# ## 5. A family of your own
#
# Wind speeds are often modelled by a Rayleigh distribution, which lowerbound does not contain. A family needs three
# methods: the distribution, its sufficient statistics, and the parameters that match the mean of these statistics.
# With $p(x \mid s) = \frac{x}{s^2} e^{-x^2 / 2 s^2}$ we have $T(x) = x^2$ and $\mathbb E[x^2] = 2 s^2$. (A Rayleigh
# distribution is a Weibull distribution of concentration 2 and scale $\sqrt 2\, s$, so the code uses Pyro's Weibull.)


# %%
class Rayleigh(Family):
    """x[d] | z = k ~ Rayleigh(scale[k, d])."""

    def __init__(self, components, features):
        super().__init__()
        self.scale = PyroParam(torch.ones(components, features), constraints.positive)

    def component(self, z=...):
        return dist.Weibull(math.sqrt(2) * self.scale[z], 2.0).to_event(1)

    def statistics(self, x):
        return x.square()

    def match(self, mean):
        self.scale = (mean / 2).sqrt()


# %% [markdown]
# We simulate two kinds of weather: calm days, and storms with wind from another direction. `check_family` tests all
# that a family must fulfil, and its error names the first test that fails. No output means that all tests passed.

# %%
rng = np.random.default_rng(3)
storm = (rng.random(600) < 0.35).astype(int)
speed = rng.rayleigh(np.array([3.0, 8.0])[storm])[:, None]  # m/s
direction = rng.vonmises(np.array([0.6, 2.2])[storm], np.array([4.0, 3.0])[storm])[:, None]  # radians
showers = rng.poisson(np.array([0.8, 2.5])[storm])[:, None]
sky = np.array([rng.choice(3, p=[[0.55, 0.3, 0.15], [0.15, 0.35, 0.5]][z]) for z in storm])[:, None]

check_family(Rayleigh(2, 1), speed)
by_em = fit(Mixture(Rayleigh(2, 1)), speed, EM())
by_svi = fit(Mixture(Rayleigh(2, 1)), speed, SVI("exact"))
rayleigh_scales = sorted(by_em.model.family.scale.flatten().tolist())
by_em.model.summary(["speed"]).round(3)

# %% [markdown]
# Everything else works without more code: EM, SVI, restarts, sampling, saving, the tables and the figures. The page
# `add_a_family.md` beside this tutorial explains the rest: priors, speed, and the other kinds of family.
#
# ## 6. No formula for the M-step
#
# Do the speeds follow a Rayleigh distribution at all? A Weibull distribution has a concentration as well as a scale,
# and its M-step has no closed form. `FamilyOf` takes any distribution of Pyro. Its M-step is a gradient step,
# shortened until the bound does not decrease (a generalized EM).

# %%
weibull = fit(Mixture(FamilyOf(dist.Weibull, 2, 1)), speed, EM())
winds = compare(speed, em=by_em, svi=by_svi, weibull=weibull)
assert float(weibull.bounds.diff().min()) > -1e-10  # the bound never decreases here either
print(f"concentrations: {np.round(weibull.model.family.concentration.flatten().tolist(), 2)}")
winds.frame()[["log_likelihood", "free_parameters", "bic", "passes"]].round(3)

# %% [markdown]
# Both engines agree on the Rayleigh mixture, and BIC prefers it: the two estimated concentrations are near 2 and do
# not justify their parameters. A Gaussian does not suit the next data, because directions lie on a circle. The von
# Mises distribution is a distribution on the circle.

# %%
compass = fit(Mixture(FamilyOf(dist.VonMises, 2, 1)), direction, EM())
compass_locs = sorted(compass.model.family.loc.flatten().tolist())
turn = np.linspace(-np.pi, np.pi, 361)
density = compass.model.bound(turn[:, None]).exp()

fig, ax = plt.subplots(figsize=(4.6, 4.2), subplot_kw={"projection": "polar"})
heights, edges = np.histogram(direction, bins=36, range=(-np.pi, np.pi), density=True)
ax.bar((edges[1:] + edges[:-1]) / 2, heights, width=2 * np.pi / 36, color=GREY, alpha=0.45)
ax.plot(turn, density, color=BLUE)
for loc, colour, name in zip(compass_locs, (GREEN, ORANGE), ("calm", "storm"), strict=True):
    ax.text(loc, 0.72, name, ha="center", va="center")
    ax.plot([loc, loc], [0, 0.62], color=colour)
ax.set(yticks=[], ylim=(0, 0.85), title="two winds, on a circle")
plt.show()

# %% [markdown]
# ## 7. Mixed tables
#
# A row may contain a measurement, a count and a category. Within a component the groups of columns are independent, so
# their log densities add up, and each group has its own M-step. `Product` combines families, including your own. No
# single column tells the weather well, but together they do.

# %%
together = np.hstack([speed, showers, sky])
tables = {
    "speed": (Rayleigh(2, 1), speed),
    "showers": (Poisson(2, 1), showers),
    "sky": (Categorical(2, [3]), sky),
    "all three": (Product(Rayleigh(2, 1), Poisson(2, 1), Categorical(2, [3])), together),
}
mixed, right = {}, {}
for name, (family, data) in tables.items():
    mixed[name] = fit(Mixture(family), data, EM(tol=1e-7), max_passes=1000)
    same = float((mixed[name].model.posterior(data).probs.argmax(-1).numpy() == storm).mean())
    right[name] = max(same, 1 - same)  # the storms may be either component
assert max(right, key=right.get) == "all three"

fig, ax = plt.subplots(figsize=(7.5, 2.8))
ax.barh(list(right), [100 * v for v in right.values()], color=[GREY, GREY, GREY, BLUE])
for i, v in enumerate(right.values()):
    ax.text(100 * v + 0.7, i, f"{100 * v:.0f} %", va="center")
ax.axvline(65, color="black", linestyle="--", linewidth=1)
ax.text(65, -0.75, " always calm", va="bottom")
ax.invert_yaxis()
ax.set(xlim=(0, 100), xlabel="days whose weather is told right, per cent")
plt.show()

# %%
mixed["all three"].model.summary(["speed", "showers", "sky"], [None, None, ["clear", "cloudy", "overcast"]]).T.round(3)

# %% [markdown]
# ## 8. Outliers
#
# A Gaussian cannot ignore an outlier: its tails are so thin that instead its mean moves or its variance grows. A
# Student t distribution can. It is a Gaussian with one more latent variable, a scale for each row, and its E-step
# gives outliers little weight. Here is Old Faithful with 20 misread eruptions added:

# %%
faithful = datasets.load("faithful").to_numpy()
noise = np.random.default_rng(5)
misread = np.column_stack([noise.uniform(0.5, 7, 20), noise.uniform(20, 120, 20)])
dirty = np.concatenate([faithful, misread])
clean = fit(GaussianMixture(2, 2), faithful, EM(), restarts=3)
gaussian = fit(GaussianMixture(2, 2), dirty, EM(), restarts=3)
student = fit(StudentTMixture(2, 2), dirty, EM(tol=1e-7), restarts=2)
robust = compare(dirty, gaussian=gaussian, student=student).frame()
robust[["log_likelihood", "free_parameters", "bic"]].round(2)


# %%
def outlines(ax, location, matrices, **style):
    """The ellipse of two scales around each location."""
    angle = torch.linspace(0, 2 * math.pi, 100)
    circle = 2 * torch.stack([angle.cos(), angle.sin()])
    for centre, factor in zip(location.detach(), torch.linalg.cholesky(matrices.detach()), strict=True):
        ax.plot(*(centre[:, None] + factor @ circle), **style)


def scatter_matrices(family):
    """Scale matrices (k, 2, 2)."""
    return family.scale_tril @ family.scale_tril.mT


fig, axes = plt.subplots(1, 2, figsize=(11, 4.4), sharex=True, sharey=True)
for ax, (name, f) in zip(axes, {"Gaussian": gaussian, "Student t": student}.items(), strict=True):
    ax.scatter(*faithful.T, s=10, color=GREY, alpha=0.6)
    ax.scatter(*misread.T, s=28, color=ORANGE, marker="x")
    outlines(ax, clean.model.family.loc, scatter_matrices(clean.model.family), color="black", linestyle=":")
    outlines(ax, f.model.family.loc, scatter_matrices(f.model.family), color=BLUE)
    ax.set(title=f"{name}: BIC {robust.loc[name.split()[0].lower(), 'bic']:.0f}", xlabel="eruption (minutes)")
axes[0].scatter([], [], s=28, color=ORANGE, marker="x", label="misread rows")
axes[0].plot([], [], color="black", linestyle=":", label="fit without them")
axes[0].plot([], [], color=BLUE, label="fit with them")
fig.legend(loc="outside lower center", ncols=3)
axes[0].set_ylabel("waiting (minutes)")
plt.show()

# %%
spread = pd.DataFrame(
    {
        name: scatter_matrices(f.model.family)[f.model.family.loc[:, 0].argsort(), 1, 1].detach().sqrt().tolist()
        for name, f in {"clean rows, Gaussian": clean, "all rows, Gaussian": gaussian, "all rows, t": student}.items()
    },
    index=["short eruptions", "long eruptions"],
).T
spread.rename_axis("scale of waiting, minutes").round(2)

# %% [markdown]
# ## Exercises
#
# 1. In section 2 fit two negative binomial components. What do the weights and the BIC say about the second?
# 2. In section 4 use `KMeans(10, 64)` from tutorial 02 on the same pixels, and compare the centres with the prototypes.
#    Why can the log-likelihoods not be ranked?
# 3. In section 8 give the Gaussian mixture a third component instead of the t distribution. Where does it go? Which of
#    the three has the lowest BIC, and why is that no surprise, given how the misread rows were made?

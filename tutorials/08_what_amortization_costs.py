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
# # What amortization costs
#
# EM computes the exact posterior of each row. A VAE has one network for all rows, the encoder, which gives an
# approximate posterior $q(z \mid x)$. This is called amortized inference. It is fast, but it loses accuracy. How much,
# and for which rows? This tutorial splits the loss into two gaps, checks them where they are known in closed form, and
# tries methods that reduce them.
#
# 1. Two gaps
# 2. Where both gaps are known
# 3. A VAE of binary digits
# 4. What helps
# 5. Latent dimensions that are not used
# 6. How sure is the evidence?
#
# It runs in about a minute on a laptop.

# %%
import copy
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.patches import Ellipse

from lowerbound import datasets
from lowerbound.inference import SVI, evidence, fit, gap_report, kl
from lowerbound.models import PPCA, VAE, BernoulliDecoder, MLPEncoder, linear_vae, seed

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#767676"  # Okabe & Ito, and a grey
plt.rcParams.update({"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "font.size": 12})
plt.rcParams.update({"lines.linewidth": 2, "legend.frameon": False, "figure.constrained_layout.use": True})

# %% [markdown]
# ## 1. Two gaps
#
# The ELBO is below $\log p(x)$ by $\mathrm{KL}(q \,\|\, p(z \mid x))$. This difference is the sum of two parts (Cremer,
# Li and Duvenaud 2018). Let $q^*$ be the best $q$ for one row alone, within the family of the encoder, such as
# Gaussians with a diagonal covariance. Then
#
# $$\log p(x) - \mathrm{ELBO}(q) = \underbrace{\log p(x) - \mathrm{ELBO}(q^*)}_{\text{approximation gap}}
# + \underbrace{\mathrm{ELBO}(q^*) - \mathrm{ELBO}(q)}_{\text{amortization gap}}.$$
#
# The **approximation gap** is the loss due to the family. The **amortization gap** is the loss due to one encoder for
# all rows. Neither is ever negative.
#
# In the linear VAE of tutorial 07 everything is Gaussian and can be plotted. We take probabilistic PCA of iris in two
# latent dimensions and rotate $z$ by 30 degrees. The rotation leaves $p(x)$ unchanged, but the posterior is now a
# tilted ellipse, which no diagonal $q$ can match. The decoder is held fixed; only the encoder is trained, for 150
# passes.

# %%
iris = torch.tensor(datasets.load("iris").to_numpy())
ppca = PPCA.closed_form(iris, 2)
cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)

flowers = seed(linear_vae(4, 2).double(), iris)
decoder = flowers.decoder
with torch.no_grad():  # its layers work in columns standardized by `loc` and `unit`
    decoder.network[0].weight.copy_(ppca.loading @ turn / decoder.unit[:, None])
    decoder.network[0].bias.zero_()
decoder.scale = ppca.scale
for parameter in decoder.parameters():
    parameter.requires_grad_(False)
same_evidence = float((flowers.evidence(iris) - ppca.evidence(iris)).abs().max())
assert same_evidence < 1e-9

flowers = fit(flowers, iris, SVI("analytic", learning_rate=0.03, batch_size=25), max_passes=150).model
posterior, guess = flowers.linear().posterior(iris), flowers.posterior(iris)
precision = posterior.precision_matrix[0]  # the same for every row
shortfall = kl(guess, posterior)  # log p(x) - ELBO, closed form
approximation = float((precision.diagonal().log().sum() - torch.logdet(precision)) / 2)
amortization = shortfall - approximation

# %%
row = int((amortization - amortization.quantile(0.7)).abs().argmin())
variances, vectors = torch.linalg.eigh(posterior.covariance_matrix[0])
tilt = math.degrees(math.atan2(float(vectors[1, 1]), float(vectors[0, 1])))
best_scale, guess_scale = precision.diagonal().rsqrt(), guess.stddev[row]
drawn = {  # centre, standard deviations across and up, tilt
    "posterior": (posterior.mean[row], variances.flip(0).sqrt(), tilt, "black"),
    "best diagonal $q^*$": (posterior.mean[row], best_scale, 0, BLUE),
    "encoder's $q$": (guess.mean[row], guess_scale, 0, ORANGE),
}
fig, (ax, bars) = plt.subplots(1, 2, figsize=(12, 4.4), width_ratios=[1.3, 1])
for name, (centre, size, degrees, colour) in drawn.items():
    wide, tall = (4 * size).tolist()
    ax.add_patch(Ellipse(centre.tolist(), wide, tall, angle=degrees, fill=False, edgecolor=colour, linewidth=2.5))
    ax.plot(*centre.tolist()[:2], "+", color=colour, markersize=12, markeredgewidth=2.5)
    ax.plot([], [], color=colour, label=name)
ax.autoscale_view()
ax.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal", title="one flower: 2 standard deviations of $z$")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
top, low = float(flowers.evidence(iris)[row]), float((flowers.evidence(iris) - shortfall)[row])
middle = top - approximation
bars.bar(
    [0, 1, 2], [top - low + 0.5, middle - low + 0.5, 0.5], bottom=low - 0.5, color=["black", BLUE, ORANGE], width=0.6
)
for at, (lower, upper, name) in enumerate(((middle, top, "approximation\ngap"), (low, middle, "amortization\ngap"))):
    bars.annotate("", (at + 1, upper), (at + 1, lower), arrowprops={"arrowstyle": "<->", "linewidth": 1.5})
    bars.plot([at, at + 1.3], [upper, upper], color=GREY, linewidth=1, linestyle=":")
    bars.text(at + 1.1, (lower + upper) / 2, f"{name}\n{upper - lower:.2f} nats", va="center")
bars.set_xticks([0, 1, 2], ["log p(x)", "ELBO($q^*$)", "ELBO($q$)"])
bars.set(ylabel="nats", ylim=(low - 0.5, top + 0.15), xlim=(-0.5, 2.9), title="two steps down")
plt.show()

# %% [markdown]
# ## 2. Where both gaps are known
#
# Let $P = I + W^\top W / \sigma^2$ be the precision matrix of the posterior, the same for every row. The diagonal $q$
# that is closest to it in KL has the mean of the posterior and the variances $1 / P_{jj}$. So the approximation gap is
#
# $$\tfrac12 \Big( \sum_j \log P_{jj} - \log \lvert P \rvert \Big),$$
#
# and the amortization gap is the rest of the closed-form KL. `gap_report` uses none of these formulas. For each row it
# finds $q^*$ by gradient steps that start at the encoder's $q$, and it estimates the ELBOs by draws. This works for any
# VAE. Here we can check it against the formulas.

# %%
report = gap_report(flowers, iris)
print(report)
assert report.best.exact  # log p(x) has a closed form here
in_errors = {
    "approximation": (report.approximation - approximation) / report.best.elbo_error,
    "amortization": (report.amortization - amortization)
    / (report.best.elbo_error.square() + report.encoder.elbo_error.square()).sqrt(),
}
worst = max(float(error.abs().max()) for error in in_errors.values())
assert worst < 5  # standard errors of 1000 draws, over 150 rows
mean_errors = [
    abs(float(report.approximation.mean()) - approximation),
    abs(float(report.amortization.mean() - amortization.mean())),
]
assert max(mean_errors) < 0.02

fig, ax = plt.subplots(figsize=(6.4, 4.2))
end = float(max(amortization.max(), approximation)) * 1.1
ax.plot([0, end], [0, end], color="black", linewidth=1)
ax.plot(amortization, report.amortization, "o", color=ORANGE, markersize=5, alpha=0.6, label="amortization gap")
ax.plot(
    torch.full_like(amortization, approximation), report.approximation, "o", color=BLUE, markersize=5, alpha=0.6,
    label="approximation gap",
)  # fmt: skip
ax.set(xlabel="closed form (nats)", ylabel="gap_report (nats)", title="gap_report against the formula, 150 flowers")
ax.legend()
plt.show()

# %% [markdown]
# The approximation gap is the same for all flowers and does not change with longer training. The amortization gap
# differs from flower to flower. Here it would go to 0 with longer training: the posterior mean is linear in $x$, so a
# linear encoder can be exact. In general the best $q^*$ is not such a simple function of $x$.

# %% [markdown]
# ## 3. A VAE of binary digits
#
# Now a model without closed forms: binary images of digits, 8 latent dimensions, one hidden layer in the encoder and
# one in the decoder. We train on 1397 images and hold out 400.

# %%
digits = torch.tensor(datasets.load("binary_digits").to_numpy(), dtype=torch.float32)
order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
train, held_out = digits[order[:1397]], digits[order[1397:]]


def binary_vae(latent=8, encoder=(64,), decoder=(100,), covariance="diag"):
    """An untrained VAE of the digits."""
    return VAE(MLPEncoder(64, latent, encoder, covariance), BernoulliDecoder(latent, 64, decoder), latent)


def trained(model, elbo="analytic", passes=100, **options):
    """The model after `passes` passes over the training rows."""
    return fit(model, train, SVI(elbo, learning_rate=3e-3, batch_size=100, **options), max_passes=passes).model


def gaps(model, x):
    """gap_report with fewer samples and steps than by default."""
    return gap_report(model, x, samples=300, steps=200)


def staircase(reports, title, start=None):
    """One bar for each report: the ELBO, then the amortization gap, then the approximation gap."""
    fig, ax = plt.subplots(figsize=(10, 0.55 * len(reports) + 1.7))
    means = {name: [float(v.mean()) for v in (r.elbo, r.best.elbo, r.evidence)] for name, r in reports.items()}
    left = min(m[0] for m in means.values()) - 0.15 if start is None else start
    for at, (elbo, best, top) in enumerate(means.values()):
        ax.barh(at, elbo - left, left=left, color="#dcdcdc", label=None if at else "ELBO")
        ax.barh(at, best - elbo, left=elbo, color=ORANGE, label=None if at else "amortization gap")
        ax.barh(at, top - best, left=best, color=BLUE, label=None if at else "approximation gap")
        ax.text(elbo + (best - elbo) / 2, at, f"{best - elbo:.2f}", ha="center", va="center", fontsize=10)
        ax.text(best + (top - best) / 2, at, f"{top - best:.2f}", ha="center", va="center", color="white", fontsize=10)
        ax.text(top, at, f" {top:.2f}", va="center")
    ax.set_yticks(range(len(means)), list(means))
    ax.invert_yaxis()
    ax.set(xlabel="nats per row; the end of a bar is log p(x)", title=title)
    ax.set_xlim(left, max(m[2] for m in means.values()) + 0.12)
    fig.legend(loc="outside lower center", ncols=3)
    plt.show()


base = trained(binary_vae())
seen, unseen = gaps(base, train[:100]), gaps(base, held_out[:100])
amortization_seen, amortization_unseen = (float(r.amortization.mean()) for r in (seen, unseen))
approximation_seen, approximation_unseen = (float(r.approximation.mean()) for r in (seen, unseen))
assert amortization_unseen > 1.15 * amortization_seen
assert abs(approximation_unseen - approximation_seen) < 0.04
staircase({"training rows": seen, "held-out rows": unseen}, "the encoder knows its training rows better")

# %% [markdown]
# Held-out rows have a larger total gap, and part of it is due to the encoder. The approximation gap is about the same
# as on the training rows, because it depends only on the decoder and the family. The amortization gap is larger: the
# encoder is fitted to the training rows and is less accurate on other rows (Wu et al. 2017). The next figures show it
# row by row:

# %%
fig, ax = plt.subplots(figsize=(7.5, 3.6))
share = np.arange(1, 101)
for r, colour, name in ((seen, GREY, "training rows"), (unseen, ORANGE, "held-out rows")):
    ax.plot(share, r.amortization.sort()[0], color=colour, label=name)
ax.set(xlabel="per cent of rows, the easy ones first", ylabel="amortization gap (nats)", xlim=(0, 100), ylim=(0, None))
ax.set_title("most rows lose little, a few lose much")
ax.legend()
plt.show()

hardest, easiest = unseen.amortization.argsort(descending=True)[:10], unseen.amortization.argsort()[:10]
worst_gap = float(unseen.amortization.max())
assert worst_gap > 3 * amortization_unseen
fig, axes = plt.subplots(2, 10, figsize=(11, 2.9))
for line, rows, label in zip(axes, (hardest, easiest), ("largest gap", "smallest gap"), strict=True):
    for ax, i in zip(line, rows, strict=True):
        ax.imshow(held_out[i].reshape(8, 8), cmap="Greys", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[], title=f"{max(float(unseen.amortization[i]), 0):.2f}")
        ax.spines[:].set_visible(False)
    line[0].set_ylabel(label, rotation=0, ha="right", va="center")
fig.suptitle("amortization gap in nats: unusual digits cost the most")
plt.show()

# %% [markdown]
# ## 4. What helps
#
# First we hold **the decoder of section 3 fixed**, so that $\log p(x)$ cannot change. We continue to train its encoder,
# or train a larger encoder for it from the start. All bars are means over the same 100 held-out rows.


# %%
def encoder_only(encoder):
    """This encoder, trained with the decoder of `base`, which is held fixed."""
    model = VAE(encoder, copy.deepcopy(base.decoder), 8)
    model.decoder.requires_grad_(False)
    return trained(model)


same_decoder = {
    "as trained in section 3": unseen,
    "its encoder, 100 passes more": gaps(encoder_only(copy.deepcopy(base.encoder)), held_out[:100]),
    "larger encoder (200, 200)": gaps(encoder_only(MLPEncoder(64, 8, (200, 200))), held_out[:100]),
}
amortized = [float(r.amortization.mean()) for r in same_decoder.values()]
tops = [float(r.evidence.mean()) for r in same_decoder.values()]
assert amortized[2] < 0.8 * amortized[0] and amortized[1] < amortized[0]
assert max(tops) - min(tops) < 0.05  # log p(x) depends on the decoder alone
staircase(same_decoder, "one decoder: a larger encoder narrows the orange part")

# %% [markdown]
# The blue part, the approximation gap, does not change. To reduce it we need another family, and then the decoder
# changes, too. So in the rest of this section **encoder and decoder are trained from the start**, and $\log p(x)$
# itself is the number to compare. A full covariance is a larger family. The importance-weighted bound with 5 draws,
# `SVI("importance", particles=5)`, depends less on the accuracy of $q$ in training. (One run each; another seed changes
# a bar by about 0.1.)

# %%
anew = {
    "section 3": unseen,
    "larger encoder (200, 200)": gaps(trained(binary_vae(encoder=(200, 200))), held_out[:100]),
    "full covariance": gaps(trained(binary_vae(covariance="full")), held_out[:100]),
    "importance-weighted, 5 draws": gaps(trained(binary_vae(), "importance", particles=5), held_out[:100]),
}
evidence_of = {name: float(r.evidence.mean()) for name, r in anew.items()}
approximation_of = {name: float(r.approximation.mean()) for name, r in anew.items()}
assert approximation_of["full covariance"] < 0.6 * approximation_of["section 3"]
assert max(evidence_of, key=evidence_of.get) == "importance-weighted, 5 draws"
staircase(anew, "trained anew: the highest log p(x) has the widest gaps")

# %% [markdown]
# The last bar needs a comment. The importance-weighted model has the **widest** gaps, and the **highest** $\log p(x)$.
# The ELBO favours decoders whose posteriors the encoder can match. The importance-weighted bound is tighter, so this
# effect is weaker. If you need accurate inference from the encoder, compare the gaps; if you need a good model of the
# data, compare the evidence.

# %% [markdown]
# ## 5. Latent dimensions that are not used
#
# Give the same VAE 20 latent dimensions. Early in training $z$ carries little information but its KL lowers the ELBO.
# So for many dimensions $q$ moves to the prior, and some stay there. A stronger decoder makes this worse. There are two
# common remedies. `warm_up` raises the weight of the KL from 0 to 1 over the first passes. `free_bits` does not
# penalize the first nats of KL of each dimension. The bounds that a fit reports are the ELBO in both cases.

# %%
twenty = {
    "20 dimensions": trained(binary_vae(20)),
    "strong decoder (200, 200)": trained(binary_vae(20, decoder=(200, 200))),
    "warm_up=50": trained(binary_vae(20), warm_up=50),
    "free_bits=0.1": trained(binary_vae(20), free_bits=0.1),
}
twenty = {name: gaps(model, held_out[:100]) for name, model in twenty.items()}
per_dimension = torch.stack([r.divergence.sort(descending=True)[0] for r in twenty.values()])

fig, ax = plt.subplots(figsize=(11, 3))
image = ax.imshow(per_dimension, cmap="Blues", vmin=0, vmax=1, aspect="auto")
for (i, j), nats in np.ndenumerate(per_dimension.numpy()):
    ax.text(
        j, i, f"{nats:.2f}".lstrip("0"), ha="center", va="center", color="white" if nats > 0.6 else "black", fontsize=9
    )
ax.set_yticks(range(len(twenty)), [f"{name}: {int(r.active.sum())} active" for name, r in twenty.items()])
ax.set(xticks=[], xlabel="latent dimensions, in order of KL", title="KL(q || p) of each dimension, nats per row")
plt.show()
print(twenty["strong decoder (200, 200)"].warning)

# %% [markdown]
# A dimension counts as active if its posterior mean has a variance of more than 0.01 over the rows, which is a low
# threshold. The KL in nats is more informative. Without a remedy a handful of dimensions have nearly all of the KL.
# With `warm_up` most dimensions are used. With `free_bits` all are active, but many have just the 0.1 nats of KL that
# are not penalized. Do these remedies improve the model?

# %%
costs = {"8 dimensions": unseen, **twenty}
staircase(costs, "held-out rows: active dimensions are not an aim in themselves")
table = pd.DataFrame(
    {
        name: [int(r.active.sum()), *(float(v.mean()) for v in (r.evidence, r.elbo, r.approximation, r.amortization))]
        for name, r in costs.items()
    },
    index=["active", "log p(x)", "ELBO", "approximation gap", "amortization gap"],
).T
assert table.loc["warm_up=50", "log p(x)"] > table.loc["20 dimensions", "log p(x)"] + 0.2
assert table.loc["warm_up=50", "approximation gap"] > table.loc["20 dimensions", "approximation gap"]
assert table.loc["free_bits=0.1", "ELBO"] < table.loc["20 dimensions", "ELBO"] - 0.1
assert table["log p(x)"].idxmax() == "strong decoder (200, 200)"
table.round(2)

# %% [markdown]
# `warm_up` helps: the model of the digits is better. Its posterior is further from any diagonal Gaussian, so the ELBO
# shows only part of the gain. `free_bits` lowers the ELBO here by a good part of a nat and brings no gain: the nats
# that are not penalized carry no useful information. The strong decoder is a larger network that leaves the most
# dimensions unused, and it has the highest $\log p(x)$ of all. Unused dimensions are a reason to check a model, not a
# proof that it is bad.

# %% [markdown]
# ## 6. How sure is the evidence?
#
# All of these results depend on $\log p(x)$, which has no closed form for a Bernoulli VAE. `evidence` estimates it by
# importance weighting with $S$ draws,
#
# $$\log \frac1S \sum_{s=1}^S \frac{p(x, z_s)}{q(z_s \mid x)}, \qquad z_s \sim q(z \mid x).$$
#
# With one draw the expected value of this estimate is the ELBO. With more draws it rises towards $\log p(x)$, and its
# expected value is always below $\log p(x)$. In a linear VAE of the greyscale digits $\log p(x)$ is known, and we can
# plot how fast the estimate converges.

# %%
grey = torch.tensor(datasets.load("digits").to_numpy()) / 16
linear = fit(
    linear_vae(64, 10).double(), grey, SVI("analytic", learning_rate=1e-2, batch_size=100), max_passes=30
).model
some = grey[:200]
exact = evidence(linear, some)
assert exact.exact
counts = [1, 3, 10, 30, 100, 300, 1000, 3000]
estimates = {s: evidence(linear, some, samples=s, seed=s, closed_form=False) for s in counts}
short = np.array([e.mean - exact.mean for e in estimates.values()])
error = np.array([e.mean_error for e in estimates.values()])
assert (np.diff(short[::2]) > 0).all() and short[0] < -0.5 and abs(short[-1]) < 0.05

fig, ax = plt.subplots(figsize=(8, 3.8))
ax.axhline(0, color="black", linestyle="--", label="log p(x), closed form")
gap = -float(kl(linear.posterior(some), linear.linear().posterior(some)).detach().mean())
ax.axhline(gap, color=GREY, linestyle=":", label="ELBO, closed form")
ax.errorbar(counts[1:], short[1:], 2 * error[1:], fmt="o", color=BLUE, capsize=4, label="estimate, ± 2 standard errors")
ax.plot(counts[:1], short[:1], "o", color=BLUE)
ax.set(xscale="log", xlabel="draws of $z$ for each row", ylabel="nats per row\nfrom log p(x)")
ax.set_title("more draws, from the ELBO to the evidence")
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# With few draws the error bars are too short: they do not show that the estimate is too low. The number of **effective
# samples** warns of this case. It is the number of independent draws from the posterior that would be as informative as
# the weighted draws. A better $q$ gives more effective samples. `gap_report` therefore computes its evidence from
# $q^*$. The next figure shows the effective samples of 300 draws, for the digits of section 3:

# %%
effective = {"encoder's $q$": unseen.encoder.effective_samples, "best $q^*$ of each row": unseen.best.effective_samples}
medians = {name: float(e.median()) for name, e in effective.items()}
by_encoder, by_best = medians.values()
assert by_best > by_encoder
fig, ax = plt.subplots(figsize=(7.5, 3.4))
bins = np.linspace(0, 300, 31)
for (name, e), colour in zip(effective.items(), (ORANGE, BLUE), strict=True):
    ax.hist(e, bins, color=colour, alpha=0.6, label=f"{name}: median {medians[name]:.0f}")
ax.set(
    xlabel="effective samples of 300 draws", ylabel="held-out rows", title="a better q makes better use of its draws"
)
ax.legend()
plt.show()
print(evidence(base, held_out, samples=100))
print(evidence(base, held_out, samples=2000))

# %% [markdown]
# ## Exercises
#
# 1. In section 1 rotate $z$ by 45 degrees, and by 0. How large is the approximation gap?
# 2. In section 3 train for 400 passes. Which of the gaps grow, on which rows? What does the held-out evidence do?
# 3. In section 5 combine 8 dimensions and `warm_up`. Which held-out evidence and which gaps do you expect?

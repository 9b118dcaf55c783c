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
# # From the ELBO to the VAE
#
# The latent variable of a mixture is one of $K$ components. Here it is a real number or a vector, and the sum over
# components becomes an integral that has no closed form in general. The ELBO still applies. This tutorial goes from the
# mixture to the variational autoencoder (VAE) step by step. The first example has one latent dimension, so that every
# claim can be checked against the exact answer.
#
# 1. From K components to infinitely many
# 2. The sum over z is gone
# 3. The ELBO once more
# 4. Two forms of the ELBO
# 5. The gradient of an average
# 6. One encoder for all rows
# 7. Handwritten digits
# 8. What to remember
#
# It runs in well under a minute on a laptop.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro.distributions as dist
import torch
from matplotlib.patches import Circle
from torch import nn

from lowerbound import datasets
from lowerbound.inference import EM, SVI, compare, evidence, fit, kl
from lowerbound.inference.plots import latent_grid, latent_map
from lowerbound.models import VAE, BernoulliDecoder, BernoulliMixture, GaussianDecoder, GaussianMixture, MLPEncoder

torch.set_default_dtype(torch.float64)  # everything here is in double precision

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#767676"  # Okabe & Ito, and a grey
plt.rcParams.update({"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "font.size": 12})
plt.rcParams.update({"lines.linewidth": 2, "legend.frameon": False, "figure.constrained_layout.use": True})

# %% [markdown]
# ## 1. From K components to infinitely many
#
# A mixture has a table of means and variances, one row for each value of $z$. Let $z$ be a real number, drawn from
# $\mathcal N(0, 1)$, and replace the table by two functions, $\mu(z)$ and $\sigma^2(z)$. Together they are the
# **decoder**. The sum over components becomes an integral,
#
# $$p(x_i) = \int p(x_i \mid z_i)\, p(z_i)\, dz_i = \int \mathcal N\big(x_i;\, \mu(z_i), \sigma^2(z_i)\big)\,
# \mathcal N(z_i; 0, 1)\, dz_i,$$
#
# a mixture of infinitely many Gaussians. (The latent variable of row $i$ is $z_i$ throughout; section 2.1 of the
# lecture notes contains a $z_j$ by mistake.) The next cell defines a decoder by hand. It maps the line of latent values
# to a curve in the plane.


# %%
class Curve(nn.Module):
    """x | z ~ N(mu(z), sigma^2(z) I): a curve in the plane with more noise in the middle than at the two ends."""

    def forward(self, z):  # (..., 1)
        loc = torch.cat([1.5 * z, 1.3 * (1.5 * z).sin()], -1)  # (..., 2)
        scale = 0.1 + 0.25 * (-z.square()).exp()
        return dist.Normal(loc, scale.expand_as(loc)).to_event(1)


curve = Curve()

# %% [markdown]
# An integral over one dimension can be approximated by a sum over a fine grid. Take $K$ grid points on the line (the
# code calls them `places`). Each grid point is a component: its weight is the prior density at the point times the grid
# step. In an ordinary mixture every component has its own parameters. Here the decoder gives the parameters of all
# components, so their number does not change the number of parameters.


# %%
def places(k):
    """k grid points of z from -5 to 5, (k, 1), and the log of the prior mass at each, (k,)."""
    z = torch.linspace(-5, 5, k)
    return z[:, None], dist.Normal(0.0, 1.0).log_prob(z) + math.log(10 / (k - 1))


@torch.no_grad()
def log_density(decoder, x, k=501):
    """log p(x) of each row, (n,), by the sum over k grid points."""
    z, log_weight = places(k)
    return torch.cat([torch.logsumexp(decoder(z).log_prob(rows[:, None]) + log_weight, -1) for rows in x.split(1000)])


across, up = torch.arange(-8, 8.01, 0.1), torch.arange(-2.5, 2.51, 0.1)
plane = torch.cartesian_prod(across, up)  # covers nearly all of the mass, in squares of area 0.01
truth = log_density(curve, plane)
assert abs(float(truth.exp().sum()) * 0.01 - 1) < 1e-4
quadrature_error = float((truth.exp() - log_density(curve, plane, 1001).exp()).abs().max())
assert quadrature_error < 1e-6  # 501 grid points are enough


def picture(ax, log_p, **style):
    """Plot a density over the plane."""
    image = log_p.exp().reshape(len(across), len(up)).T
    extent = (across[0], across[-1], up[0], up[-1])
    style = {"cmap": "Blues", "vmin": 0, "vmax": 0.35, **style}
    ax.imshow(image, extent=extent, origin="lower", interpolation="bilinear", **style)
    ax.set(xlim=(-4.6, 4.6), ylim=(-2.2, 2.2), aspect="equal", xlabel="$x_1$")


fig, axes = plt.subplots(1, 3, figsize=(13, 2.9), sharey=True)
for ax, k in zip(axes, (11, 31, 501), strict=True):
    picture(ax, log_density(curve, plane, k), vmax=0.5 if k == 11 else 0.35)
    z, log_weight = places(k)
    if k < 500:
        for centre, radius in zip(curve(z).mean, 2 * curve(z).stddev[:, 0], strict=True):
            ax.add_patch(Circle(tuple(centre.tolist()), float(radius), fill=False, color=ORANGE, linewidth=1))
    ax.set_title(f"{k} components" if k < 500 else "infinitely many: $p(x)$")
axes[0].set_ylabel("$x_2$")
plt.show()

# %% [markdown]
# Each circle shows two standard deviations of a Gaussian. The prior is Gaussian, and so is each $p(x \mid z)$, but
# their mixture $p(x)$ is not. How far is it from a Gaussian? We compare it with the Gaussian of the same mean and
# covariance. The moments of a mixture are averages over its components, and so is the fourth moment. It gives the
# excess kurtosis, which is 0 for a Gaussian.

# %%
z, log_weight = places(501)
weight = log_weight.exp()
mu, variance = curve(z).mean, curve(z).variance  # (501, 2)
mean = weight @ mu
covariance = (weight @ variance).diag() + (mu - mean).mT @ ((mu - mean) * weight[:, None])
c = mu - mean
fourth = weight @ (c**4 + 6 * c**2 * variance + 3 * variance**2)
kurtosis = fourth / covariance.diagonal().square() - 3

gaussian = dist.MultivariateNormal(mean, covariance)
entropy = -float((truth.exp() * truth).sum()) * 0.01
lost_by_gaussian = float((truth.exp() * (truth - gaussian.log_prob(plane))).sum()) * 0.01  # KL(p || Gaussian)
assert math.isclose(lost_by_gaussian, float(gaussian.entropy()) - entropy, abs_tol=1e-3)
print(f"excess kurtosis of x1 and x2: {kurtosis[0]:.2f}, {kurtosis[1]:.2f}")
print(f"KL(p || Gaussian of the same moments) = {lost_by_gaussian:.2f} nats per row")

fig, axes = plt.subplots(1, 2, figsize=(12, 3.6), width_ratios=[1.9, 1])
picture(axes[0], truth)
angle = torch.linspace(0, 2 * math.pi, 100)
for radius in (1, 2):
    ellipse = mean[:, None] + radius * torch.linalg.cholesky(covariance) @ torch.stack([angle.cos(), angle.sin()])
    axes[0].plot(*ellipse, color=ORANGE, label="Gaussian of the same moments" if radius == 1 else None)
axes[0].set(ylabel="$x_2$", ylim=(-2.5, 2.9), title="$p(x)$ is not Gaussian")
axes[0].legend(loc="upper left", fontsize=10)
height = np.linspace(-3, 3, 301)
second = dist.Normal(mu[:, 1], variance[:, 1].sqrt()).log_prob(torch.tensor(height)[:, None])
axes[1].plot(height, torch.logsumexp(second + log_weight, -1).exp(), color=BLUE, label="$p(x_2)$")
axes[1].plot(height, dist.Normal(0.0, covariance[1, 1].sqrt()).log_prob(torch.tensor(height)).exp(), color=ORANGE)
axes[1].set(xlabel="$x_2$", ylabel="density", ylim=(0, None), title=f"excess kurtosis {kurtosis[1]:.1f}, not 0")
axes[1].legend(loc="upper right")
plt.show()

# %% [markdown]
# With a neural network as the decoder, the curve can have any shape; with more latent dimensions it is a surface or a
# volume. The prior is still a standard normal distribution.

# %% [markdown]
# ## 2. The sum over z is gone
#
# With 10 latent dimensions instead of one, 501 grid points along each dimension make $501^{10} \approx 10^{27}$ terms.
# The alternative is to sample. $p(x)$ is the mean of $p(x \mid z)$ over the prior: draw values of $z$ from the prior
# and average. This estimate is unbiased for any number of draws. But most draws contribute almost nothing, because $p(x
# \mid z)$ is close to 0 for most $z$.
#
# Draw instead from a distribution $q(z)$ that is concentrated where the posterior is, and weight each draw,
#
# $$p(x) = \mathbb E_{q}\!\left[\frac{p(x, z)}{q(z)}\right] \approx \frac 1S \sum_{s=1}^S \frac{p(x, z_s)}{q(z_s)},
# \qquad z_s \sim q.$$
#
# The best $q$ is the posterior $p(z \mid x)$: then every weight is exactly $p(x)$, and a single draw is enough. Take
# one row, and for $q$ the Gaussian with the mean and variance of its posterior. In one dimension the sum over grid
# points still gives both.

# %%
x0 = torch.tensor([1.7, 1.0])


def log_joint(z, x=x0):
    """log p(x, z), for z of any shape."""
    return curve(z[..., None]).log_prob(x) + dist.Normal(0.0, 1.0).log_prob(z)


fine = torch.linspace(-6, 6, 6001)  # for integrals over z: exact to rounding
step = float(fine[1] - fine[0])
log_evidence = float(torch.logsumexp(log_joint(fine), 0) + math.log(step))
posterior = (log_joint(fine) - log_evidence).exp()
posterior_mean = float((posterior * fine).sum()) * step
posterior_scale = math.sqrt(float((posterior * (fine - posterior_mean).square()).sum()) * step)
prior, q0 = dist.Normal(0.0, 1.0), dist.Normal(posterior_mean, posterior_scale)


def relative_variance(q):
    """The variance of a weight p(x, z) / q(z), z ~ q, in units of p(x)^2."""
    log_ratio = 2 * (log_joint(fine) - log_evidence) - q.log_prob(fine)
    return float(log_ratio.exp().sum()) * step - 1


def estimates(q, draws=20, times=2000):
    """log of the mean weight of `draws` draws, repeated `times` times."""
    torch.manual_seed(0)
    z = q.sample((draws, times))
    return torch.logsumexp(log_joint(z) - q.log_prob(z), 0) - math.log(draws)


by_prior, by_q = estimates(prior), estimates(q0)
coarse, coarse_weight = places(20)
by_places = float(torch.logsumexp(log_joint(coarse[:, 0]) - prior.log_prob(coarse[:, 0]) + coarse_weight, 0))
spread = pd.Series(
    {
        "sum over 20 places": math.exp(by_places - log_evidence) - 1,
        "20 draws from the prior": math.sqrt(relative_variance(prior) / 20),
        "20 draws from q": math.sqrt(relative_variance(q0) / 20),
    },
    name="relative error of p(x)",
)
for found, q in ((by_prior, prior), (by_q, q0)):  # the formula for the error is right
    assert math.isclose(float((found - log_evidence).exp().std()), math.sqrt(relative_variance(q) / 20), rel_tol=0.1)
assert relative_variance(prior) > 50 * relative_variance(q0)
spread.to_frame().round(3)

# %% [markdown]
# With one latent dimension all three estimates are good. With $L$ independent and identically distributed dimensions,
# let $v$ be the relative variance of one draw in one dimension. The relative variance of one draw in $L$ dimensions is
# $(1 + v)^L - 1$. An error of 10 per cent needs a hundred times this number of draws.

# %%
sizes = np.arange(1, 11)
needed = {name: 100 * ((1 + relative_variance(q)) ** sizes - 1) for name, q in (("prior", prior), ("q", q0))}
assert needed["prior"][-1] > 1e11 and needed["q"][-1] < 1e3

fig, axes = plt.subplots(1, 2, figsize=(12, 3.7))
bins = np.linspace(log_evidence - 3, log_evidence + 1.5, 70)
axes[0].hist(by_prior.clamp(min=float(bins[0])), bins=bins, color=ORANGE, alpha=0.8, label="from the prior")
axes[0].hist(by_q, bins=bins, color=BLUE, alpha=0.8, label="from $q$")
axes[0].axvline(log_evidence, color="black", linestyle="--", linewidth=1)
axes[0].text(log_evidence, 1.0, r"$\log p(x)$ ", ha="right", va="top", transform=axes[0].get_xaxis_transform())
axes[0].set(xlabel="estimate by 20 draws, nats", ylabel="of 2000 estimates", title="$q$ looks where $z$ is")
axes[0].text(bins[0], 70, "or less")
axes[0].legend(loc="upper left")
axes[1].semilogy(sizes, needed["prior"], "o-", color=ORANGE)
axes[1].semilogy(sizes, needed["q"], "o-", color=BLUE)
axes[1].text(5.6, 2e8, "from the prior", ha="right")
axes[1].text(8, 1e3, "from $q$", ha="right")
axes[1].set(xlabel="latent dimensions", ylabel="draws for an error of 10 %", title="the prior soon needs too many")
plt.show()

# %% [markdown]
# So we need a good $q$ for every row. The ELBO tells us how to find one: the closer $q$ is to the posterior, the higher
# its ELBO.

# %% [markdown]
# ## 3. The ELBO once more
#
# The derivation of the ELBO does not require a discrete $z$. For any density $q$,
#
# $$\log p(x) = \underbrace{\mathbb E_q[\log p(x, z) - \log q(z)]}_{\mathrm{ELBO}(q)}
# + \mathrm{KL}\big(q(z) \,\|\, p(z \mid x)\big).$$
#
# Take the Gaussians $q = \mathcal N(m, s^2)$. The next cell computes each term from its own definition, as a sum over
# grid points.

# %%
log_posterior = log_joint(fine) - log_evidence


def elbo_and_kl(m, s):
    """ELBO(q) and KL(q || p(z | x)) of q = N(m, s^2), in nats."""
    log_q = dist.Normal(m, s).log_prob(fine)
    q = log_q.exp() * step
    return float((q * (log_joint(fine) - log_q)).sum()), float((q * (log_q - log_posterior)).sum())


means, scales = np.linspace(0.3, 1.7, 57), np.geomspace(0.03, 0.5, 37)
family = np.array([[elbo_and_kl(m, s) for s in scales] for m in means])  # (means, scales, 2)
identity_error = float(np.abs(family.sum(-1) - log_evidence).max())
assert identity_error < 1e-9
best_m, best_s = (int(i) for i in np.unravel_index(family[..., 0].argmax(), family.shape[:2]))
m0, s0 = float(means[best_m]), float(scales[best_s])
smallest_kl = float(family[best_m, best_s, 1])
best_q = dist.Normal(m0, s0)
assert 0 < smallest_kl < 0.1

fig, axes = plt.subplots(1, 3, figsize=(13, 3.7))
axes[0].fill_between(fine, posterior, color=GREY, alpha=0.35, linewidth=0, label=r"posterior $p(z|x)$")
axes[0].plot(fine, best_q.log_prob(fine).exp(), color=BLUE, label="best $q$")
axes[0].plot(fine, prior.log_prob(fine).exp(), color="black", linestyle=":", label="prior $p(z)$")
axes[0].set(xlim=(-1, 2.2), ylim=(0, 4.5), xlabel="$z$", ylabel="density", title="$q$ for one row $x$")
axes[0].legend(loc="upper left", fontsize=10)
for ax, xs, ys, at, name in (
    (axes[1], means, family[:, best_s, 0], m0, "mean $m$"),
    (axes[2], scales, family[best_m, :, 0], s0, "standard deviation $s$"),
):
    ax.axhline(log_evidence, color="black", linestyle="--", linewidth=1.2)
    ax.text(xs[0], log_evidence, r"$\log p(x)$", va="bottom")
    ax.fill_between(xs, ys, log_evidence, color=ORANGE, alpha=0.3, linewidth=0)
    ax.plot(xs, ys, color=BLUE)
    ax.plot(at, family[best_m, best_s, 0], "o", color="black", markersize=8)
    ax.set(ylim=(log_evidence - 4, log_evidence + 0.6), xlabel=f"{name} of $q$")
axes[1].text(0.36, log_evidence - 1.1, "KL")
axes[1].set(ylabel="nats", title="ELBO(q) stays below log p(x)")
axes[2].set(xscale="log", xticks=[0.03, 0.1, 0.3], xticklabels=["0.03", "0.1", "0.3"])
axes[2].minorticks_off()
axes[2].set_title(f"smallest KL: {smallest_kl:.3f} nats")
plt.show()

# %% [markdown]
# The ELBO is highest where the KL is smallest, so maximizing the ELBO brings $q$ closer to the posterior. The ELBO does
# not reach $\log p(x)$: the posterior is skewed, and a Gaussian is symmetric. In EM the posterior was one of the
# possible $q$, and the gap was 0. Here a small gap remains.

# %% [markdown]
# ## 4. Two forms of the ELBO
#
# Since $p(x, z) = p(x \mid z)\, p(z)$, the same number can be written in two ways,
#
# $$\mathbb E_q[\log p(x, z) - \log q(z)] = \mathbb E_q[\log p(x \mid z)] - \mathrm{KL}\big(q(z) \,\|\, p(z)\big).$$
#
# The right-hand form is the usual one for a VAE: the expected log-likelihood of the row (the reconstruction term) minus
# the KL from $q$ to the prior. This KL has a closed form. Appendix A.1 of the lecture notes gives it for any two
# Gaussians (the expectation is under $P_1$; the symbols $P$, $p$ and $P_1$ there mean the same distribution). For $q =
# \mathcal N(m, \mathrm{diag}(s^2))$ and the prior $\mathcal N(0, I)$ the determinants and inverses simplify to
#
# $$\mathrm{KL} = \frac12 \sum_j \big(m_j^2 + s_j^2 - 1 - \log s_j^2\big).$$

# %%
m, s = torch.tensor([0.5, -1.0, 0.0]), torch.tensor([0.3, 1.5, 1.0])
diagonal = 0.5 * (m**2 + s**2 - 1 - (s**2).log())  # each dimension
first, second = torch.diag(s**2), torch.eye(3)  # A.1: covariances of P_1 and P_2
appendix = 0.5 * (
    torch.logdet(second)
    - torch.logdet(first)
    - 3
    + torch.trace(torch.linalg.solve(second, first))
    + m @ torch.linalg.solve(second, m)
)
standard = dist.Normal(torch.zeros(3), torch.ones(3)).to_event(1)
by_kl = kl(dist.Normal(m, s).to_event(1), standard)
kl_error = max(abs(float(diagonal.sum() - by_kl)), abs(float(appendix - by_kl)))
assert kl_error < 1e-12
pd.Series([*diagonal.tolist(), float(by_kl)], ["dimension 1", "2", "3", "KL"], name="nats").to_frame().T.round(4)

# %% [markdown]
# The reconstruction term is estimated by $S$ draws $z_j \sim q(z \mid x_i)$, and so is the whole of the left-hand form
# (section 2.1 of the notes does not say which distribution $z_j$ comes from). Both estimates are unbiased. Which one
# has less noise? One might expect the second, because half of it is exact. The next cell checks this. It computes the
# standard deviation of one draw, for narrow and wide $q$ centred at the best mean.


# %%
def deviations(q):
    """Standard deviations of one draw: of log p(x, z) - log q(z), and of log p(x | z)."""
    mass = q.log_prob(fine).exp() * step
    found = []
    for term in (log_joint(fine) - q.log_prob(fine), log_joint(fine) - prior.log_prob(fine)):
        found.append(math.sqrt(float(mass @ term.square() - (mass @ term) ** 2)))
    return found


widths = np.geomspace(0.01, 1, 61)
noise = np.array([deviations(dist.Normal(m0, s)) for s in widths])  # (61, 2)
noise_at_best = deviations(best_q)
noise_of_narrow = deviations(dist.Normal(m0, 0.02))
noise_at_prior = deviations(prior)
assert noise_at_best[0] < 0.6 * noise_at_best[1]  # the sampled form has less noise at the best q
assert noise_of_narrow[0] > noise_of_narrow[1]  # and more noise at a narrow one
assert math.isclose(*noise_at_prior)  # at q = p(z) they are the same, draw by draw

torch.manual_seed(0)
drawn = best_q.sample((10, 4000))
joint_form = (log_joint(drawn) - best_q.log_prob(drawn)).mean(0)
split_form = (log_joint(drawn) - prior.log_prob(drawn)).mean(0) - float(kl(best_q, prior))
exact_elbo = elbo_and_kl(m0, s0)[0]
for form, sd in zip((joint_form, split_form), noise_at_best, strict=True):
    assert abs(float(form.mean()) - exact_elbo) < 5 * sd / math.sqrt(40000)  # both are unbiased
    assert math.isclose(float(form.std()), sd / math.sqrt(10), rel_tol=0.1)

fig, axes = plt.subplots(1, 2, figsize=(12, 3.8))
axes[0].loglog(widths, noise[:, 0], color=BLUE)
axes[0].loglog(widths, noise[:, 1], color=ORANGE)
axes[0].axvline(s0, color="black", linestyle="--", linewidth=1)
axes[0].text(s0, 0.06, " best $q$", va="bottom")
axes[0].text(0.0105, 0.8, "all of it by draws", va="bottom")
axes[0].text(0.028, 0.062, "KL in closed form", va="bottom")
axes[0].set(xlabel="standard deviation $s$ of $q$", ylabel="noise of one draw, nats", ylim=(0.05, None))
axes[0].set(xticks=[0.01, 0.1, 1], xticklabels=["0.01", "0.1", "1"], title="neither form wins everywhere")
bins = np.linspace(exact_elbo - 1.1, exact_elbo + 1.1, 60)
axes[1].hist(split_form, bins=bins, color=ORANGE, alpha=0.8, label="KL in closed form")
axes[1].hist(joint_form, bins=bins, color=BLUE, alpha=0.7, label="all of it by draws")
axes[1].axvline(exact_elbo, color="black", linestyle="--", linewidth=1)
axes[1].set(xlabel="estimate of the ELBO by 10 draws, nats", ylabel="of 4000 estimates", title="at the best $q$")
axes[1].legend(loc="upper left", fontsize=10)
plt.show()

# %% [markdown]
# At the posterior itself $\log p(x, z) - \log q(z)$ is the constant $\log p(x)$: the left-hand form has no noise at
# all, while $\log p(x \mid z)$ still varies. So near a good $q$ the fully sampled form has less noise. In that form the
# noise of $\log p(x, z)$ and the noise of $\log q(z)$ cancel; with the KL in closed form they cannot. For a $q$ that is
# too narrow the closed form has less noise. At $q = p(z)$, near which the training of a VAE starts, the two are the
# same. In `lowerbound` they are `SVI("sampled")` and `SVI("analytic")`.

# %% [markdown]
# ## 5. The gradient of an average
#
# To maximize the ELBO we need the gradient of $\mathbb E_q[f(z)]$ with respect to the parameters of $q$. The draws come
# from $q$, which depends on these parameters. There are two methods, both unbiased:
#
# * the **score function** (REINFORCE): $\nabla_m \mathbb E_q[f(z)] = \mathbb E_q\big[f(z)\, \nabla_m \log q(z)\big]$.
#   It needs only values of $f$;
# * **reparameterization**: write $z = m + s \varepsilon$ with $\varepsilon \sim \mathcal N(0, 1)$. Now the draw of
#   $\varepsilon$ does not depend on $m$ or $s$, and $\nabla_m \mathbb E_q[f(z)] = \mathbb E_\varepsilon\big[f'(m + s
#   \varepsilon)\big]$. It needs the derivative of $f$, which automatic differentiation computes.
#
# The score function uses only the value of $f$ at each draw, and must estimate the slope by comparing draws. Take the
# best $q$ of section 3, $f(z) = \log p(x \mid z)$, and the gradient of the ELBO's first term with respect to $m$. A
# third estimate is the score function with a baseline: it subtracts the mean of $f$, which does not change the expected
# value.
#
# One latent dimension is again an easy case. With $L$ independent and identically distributed dimensions, the gradient
# with respect to the first $m$ is still the same number. But the score function multiplies by the sum of all $f(z_l)$,
# and $L - 1$ of these terms are unrelated to the first $m$ and add noise. The reparameterized gradient does not contain
# them.


# %%
def f(z):
    return curve(z[..., None]).log_prob(x0)


def slope(z):
    """f'(z), by autodiff."""
    z = z.clone().requires_grad_()
    return torch.autograd.grad(f(z).sum(), z)[0]


mass = best_q.log_prob(fine).exp() * step
exact_gradient = float(mass @ slope(fine))
mean_f, score = float(mass @ f(fine)), (fine - m0) / s0**2  # derivative of log N(z; m, s^2) with respect to m
variance_f = float(mass @ (f(fine) - mean_f).square())


def gradient_deviations(size):
    """Standard deviations of the one-draw estimates with `size` latent dimensions."""
    others, noise = (size - 1) * mean_f, (size - 1) * variance_f  # mean and variance of the other f's sum
    plain = float(mass @ ((f(fine) + others).square() + noise).mul(score.square()))
    helped = float(mass @ ((f(fine) - mean_f).square() + noise).mul(score.square()))
    variances = [float(mass @ slope(fine).square()), plain, helped]
    return [math.sqrt(v - exact_gradient**2) for v in variances]


methods = ["reparameterized", "score function", "score function, baseline"]
dimensions = [1, 3, 10, 30, 100]
deviation = pd.DataFrame([gradient_deviations(size) for size in dimensions], dimensions, methods)
deviation = deviation.rename_axis("latent dimensions")
ratios = (deviation["score function"] / deviation["reparameterized"]) ** 2  # of variances

torch.manual_seed(0)
epsilon = torch.randn(30, 100_000)
z = m0 + s0 * epsilon
drawn = {
    methods[0]: slope(z[0]),
    methods[1]: f(z).sum(0) * epsilon[0] / s0,
    methods[2]: (f(z) - mean_f).sum(0) * epsilon[0] / s0,
}
for method, g in drawn.items():  # unbiased, and as noisy as the formula says
    assert abs(float(g.mean()) - exact_gradient) < 5 * float(g.std()) / math.sqrt(len(g))
    assert math.isclose(float(g.std()), deviation.loc[30, method], rel_tol=0.03)
assert ratios[1] < 10 and ratios[100] > 300
deviation.round(1)

# %%
colours = dict(zip(methods, (BLUE, ORANGE, GREEN), strict=True))
fig, axes = plt.subplots(1, 2, figsize=(12, 3.8))
bins = np.linspace(exact_gradient - 40, exact_gradient + 40, 90)
for method in methods[::-1]:
    averages = drawn[method].reshape(-1, 100).mean(-1)
    axes[0].hist(averages, bins=bins, color=colours[method], alpha=0.75, label=method)
    axes[1].loglog(dimensions, deviation[method], "o-", color=colours[method], label=method)
axes[0].axvline(exact_gradient, color="black", linestyle="--", linewidth=1)
axes[0].set(xlabel="gradient by 100 draws", ylabel="of 1000 estimates", title="30 latent dimensions")
axes[1].set(xlabel="latent dimensions", ylabel="noise of one draw", title="only one does not mind the others")
axes[1].set(xticks=dimensions, xticklabels=dimensions)
axes[1].minorticks_off()
axes[1].legend(loc="upper left", fontsize=10)
plt.show()

# %% [markdown]
# All three are unbiased. At 100 dimensions the variance of the score function is several hundred times that of the
# reparameterized gradient, so it needs several hundred times as many draws. A baseline reduces the variance, but it
# stays far above that of the reparameterized gradient. A discrete $z$ cannot be reparameterized in this way. A mixture
# does not need it, because its sum over $z$ is exact.

# %% [markdown]
# ## 6. One encoder for all rows
#
# In section 3 the row had its own $q$, found by a grid search. A thousand rows would need a thousand searches, and
# every new row one more. The VAE **amortizes** this cost: a network, the **encoder**, maps a row to its $q(z_i \mid
# x_i) = \mathcal N\big(m(x_i), \mathrm{diag}\, s^2(x_i)\big)$. (The notes write the covariance as a scalar times $I$;
# they mean and use one variance for each dimension.) Encoder and decoder are trained together to maximize the same
# bound,
#
# $$\sum_i \mathbb E_{q(z_i \mid x_i)}[\log p(x_i \mid z_i)] - \mathrm{KL}\big(q(z_i \mid x_i) \,\|\, p(z_i)\big),$$
#
# with one reparameterized draw for each row and step.
#
# A VAE in `lowerbound` combines two modules: an encoder from rows to a distribution of $z$, and a decoder from $z$ to a
# distribution of the row. `MLPEncoder` is provided. We write the decoder ourselves: a network that replaces the curve.
# The training data are 2000 rows simulated from section 1; another 1000 rows are held out.


# %%
class Ribbon(nn.Module):
    """x | z ~ N(mu(z), sigma^2(z) I), both by a network."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.loc = nn.Sequential(nn.Linear(1, 50), nn.Tanh(), nn.Linear(50, 50), nn.Tanh(), nn.Linear(50, 2))
            self.log_scale = nn.Sequential(nn.Linear(1, 50), nn.Tanh(), nn.Linear(50, 1))

    def forward(self, z):
        loc = self.loc(z)
        return dist.Normal(loc, self.log_scale(z).exp().expand_as(loc)).to_event(1)


torch.manual_seed(1)
x, held_out = curve(torch.randn(3000, 1)).sample().split([2000, 1000])

engine = SVI("analytic", batch_size=100, learning_rate=1e-2, decay=0.03)
vae = fit(VAE(MLPEncoder(2, 1, hidden=(50, 50)), Ribbon(), latent=1), x, engine, max_passes=120)
print(vae)

# %% [markdown]
# Did the VAE learn the density? We compare the log density of the held-out rows, in nats per row, of: the true
# distribution, which no model can beat on average; mixtures of Gaussians fitted by EM; this VAE; and a VAE with the
# provided `GaussianDecoder`, which has one standard deviation for each column. For the VAEs the sum over grid points
# gives $\log p(x)$. `evidence` does not need this sum: it uses importance weights of draws from the encoder's $q$, as
# in section 2.

# %%
mixtures = {k: fit(GaussianMixture(k, 2), x, EM(), restarts=3) for k in (1, 2, 5, 10, 20)}
ready_made = GaussianDecoder(1, 2, hidden=(50, 50))
other = fit(VAE(MLPEncoder(2, 1, hidden=(50, 50)), ready_made, latent=1), x, engine, max_passes=120)

of_plane = {"the truth": truth, "VAE": log_density(vae.model.decoder, plane)}
of_rows = {"the truth": log_density(curve, held_out), "VAE": log_density(vae.model.decoder, held_out)}
of_plane["VAE, GaussianDecoder"] = log_density(other.model.decoder, plane)
of_rows["VAE, GaussianDecoder"] = log_density(other.model.decoder, held_out)
for k, mixture in mixtures.items():
    name = f"{k} Gaussian{'s' if k > 1 else ''}"
    of_plane[name], of_rows[name] = mixture.model.bound(plane), mixture.model.bound(held_out)
scores = pd.DataFrame({"held out": {name: float(rows.mean()) for name, rows in of_rows.items()}})
scores["KL(truth || model)"] = [float((truth.exp() * (truth - own)).sum()) * 0.01 for own in of_plane.values()]
weighed = evidence(vae.model, held_out)
encoder_gap = scores.loc["VAE", "held out"] - float(weighed.elbo.mean())  # KL(q || posterior), mean over rows
assert abs(weighed.mean - scores.loc["VAE", "held out"]) < 0.01
assert scores["KL(truth || model)"].idxmin() == "the truth"
assert scores.loc["VAE", "KL(truth || model)"] < 0.07 < scores.loc["5 Gaussians", "KL(truth || model)"]
assert abs(scores.loc["1 Gaussian", "KL(truth || model)"] - lost_by_gaussian) < 0.01
print(f"VAE by evidence(): {weighed.mean:.3f} nats per row; its ELBO: {float(weighed.elbo.mean()):.3f}")
scores.sort_values("KL(truth || model)").round(3)

# %%
fig, axes = plt.subplots(2, 2, figsize=(12, 6.2), sharex=True, sharey=True)
for ax, name in zip(axes.flat, ("the truth", "VAE", "10 Gaussians", "VAE, GaussianDecoder"), strict=True):
    picture(ax, of_plane[name])
    lost = scores.loc[name, "KL(truth || model)"]
    ax.set(title=name if name == "the truth" else f"{name}: {lost:.2f} nats lost", xlabel="")
for ax in axes[1]:
    ax.set_xlabel("$x_1$")
for ax in axes[:, 0]:
    ax.set_ylabel("$x_2$")
plt.show()

# %% [markdown]
# The VAE loses a few hundredths of a nat, about as much as ten Gaussians, and its density is smooth. The last panel
# shows a failure. Its decoder can represent everything that the other can, but its run ended 0.4 nats lower: it found
# the two bends and modelled the rest as noise. The ELBO has local optima, as the likelihood of a mixture has.
#
# The last check is the encoder. Is the $q$ that it gives for a held-out row close to the posterior?

# %%
rows = held_out[:300]
z, log_weight = places(1001)
with torch.no_grad():
    exact = torch.softmax(vae.model.decode(z).log_prob(rows[:, None]) + log_weight, -1)  # (300, 1001)
exact_mean = exact @ z[:, 0]
exact_scale = (exact @ z[:, 0].square() - exact_mean.square()).sqrt()
q = vae.model.posterior(rows)
amortized = float(np.corrcoef(exact_mean, q.mean[:, 0])[0, 1])
assert amortized > 0.99

fig, axes = plt.subplots(1, 3, figsize=(13, 3.8), width_ratios=[1.3, 1, 1])
axes[0].plot(range(1, len(vae.bounds) + 1), vae.bounds, color=BLUE)
axes[0].axhline(float(log_density(curve, x).mean()), color="black", linestyle="--", linewidth=1)
axes[0].text(120, float(log_density(curve, x).mean()), r"$\log p(x)$ of the truth", ha="right", va="bottom")
axes[0].set(xlabel="pass", ylabel="ELBO, nats per row", title="the bound rises", ylim=(-3.2, -1.85))
for ax, ours, theirs, name, ends in (
    (axes[1], exact_mean, q.mean[:, 0], "mean", (-3.2, 3.2)),
    (axes[2], exact_scale, q.stddev[:, 0], "s.d.", (0, 0.4)),
):
    ax.plot(ends, ends, color=GREY, linewidth=1)
    ax.plot(ours, theirs, ".", color=BLUE, alpha=0.5, markersize=5)
    ax.set(xlabel="posterior", ylabel="encoder", title=f"{name} of $z$, unseen rows", xlim=ends, ylim=ends)
plt.show()

# %% [markdown]
# One forward pass of the encoder replaces the search of section 3. The means are right. The few wide posteriors get a
# $q$ that is too narrow. Tutorial 08 measures what that costs.

# %% [markdown]
# ## 7. Handwritten digits
#
# The data are the 1797 black and white digits of tutorial 03, 64 pixels each. Only the decoder changes: it gives the
# probability that each pixel is black. We fit a VAE with 2 latent dimensions, which can be plotted, a VAE with 10, and
# mixtures of 20 and 40 components. 1200 images are the training set, 300 images decide when the training of a VAE stops
# (`patience`), and the other 297 are the test set for the comparison.

# %%
digits = datasets.load("binary_digits").sample(frac=1, random_state=0)
train, watched, unseen = digits[:1200], digits[1200:1500], digits[1500:]


def bernoulli_vae(latent, hidden):
    """A VAE for 64 binary pixels."""
    return VAE(
        MLPEncoder(64, latent, hidden=hidden, activation="relu"),
        BernoulliDecoder(latent, 64, hidden=hidden, activation="relu"),
        latent,
    )


images = SVI("analytic", batch_size=100, learning_rate=5e-3, decay=0.05)
fits = {
    "mixture_20": fit(BernoulliMixture(20, 64, prior="weak"), train, EM(tol=1e-6), restarts=3),
    "mixture_40": fit(BernoulliMixture(40, 64, prior="weak"), train, EM(tol=1e-6), restarts=3),
    "vae_2": fit(bernoulli_vae(2, (100, 100)), train, images, max_passes=100, validation=watched, patience=20),
    "vae_10": fit(bernoulli_vae(10, (200,)), train, images, max_passes=100, validation=watched, patience=20),
}
comparison = compare(unseen, **fits)
frame = comparison.frame()
ranking = pd.DataFrame(
    {
        "log p(x)": frame["log_likelihood"] / len(unseen),
        "ELBO": frame["elbo"] / len(unseen),
        "gap": frame["gap"] / len(unseen),
        "parameters": frame["free_parameters"],
    }
)
ahead = evidence(fits["vae_10"].model, unseen).log_evidence - fits["mixture_40"].model.bound(unseen)  # of each image
ahead_error = float(ahead.std()) / math.sqrt(len(ahead))
assert float(ahead.mean()) > 2 * ahead_error
assert ranking["log p(x)"].idxmax() == "vae_10" and ranking["log p(x)"].idxmin() == "vae_2"
print(f"vae_10 is ahead of mixture_40 by {float(ahead.mean()):.2f} +- {ahead_error:.2f} nats per image")
ranking.round(2)

# %% [markdown]
# On the test images, 10 latent dimensions have a higher log-likelihood than 40 components. 2 latent dimensions have a
# lower one than 20 components: a plane is not enough for the digits. The gap of the mixtures is 0, because their $q$ is
# the posterior. The gap of the VAEs is not, because their $q$ is a diagonal Gaussian from a shared encoder. The
# parameter counts are those of the decoder. They are large, and BIC is not a useful criterion for networks. The
# log-likelihood of held-out rows is.

# %%
figures = comparison.plot()
figures["reconstructions"]

# %% [markdown]
# The figure shows test images and their reconstructions from 2 or 10 numbers: the decoder's mean at the posterior mean.
# The next figure shows samples from each model, with every pixel drawn from its Bernoulli distribution.

# %%
figures["samples"]

# %% [markdown]
# The latent space of `vae_2` is a plane and can be plotted. The encoder places similar test images close to each other,
# although the training used no labels:

# %%
latent_map(fits["vae_2"].model, unseen)

# %% [markdown]
# The decoder gives an image at each point of a grid in this plane:

# %%
latent_grid(fits["vae_2"].model, unseen)

# %% [markdown]
# ## 8. What to remember
#
# | mixture | VAE |
# | --- | --- |
# | $z$ is one of $K$ components | $z$ is a vector with the prior $\mathcal N(0, I)$ |
# | a table of parameters, one row for each $z$ | a decoder, one function of $z$ |
# | $p(x)$ is a sum, and exact | $p(x)$ is an integral; estimated by draws from $q$ (`evidence`) |
# | $q$ is the posterior, by Bayes' rule | $q$ is a Gaussian, from one encoder for all rows |
# | E-step and M-step, gap 0 | one gradient for encoder and decoder, a gap remains |
#
# * $\log p(x) = \mathrm{ELBO} + \mathrm{KL}(q \,\|\, p(z \mid x))$, whatever $z$ is.
# * The KL to the prior has a closed form. This makes the ELBO simpler, but not always less noisy.
# * Reparameterize where you can: then the other dimensions add no noise to the gradient of one dimension.
# * Compare models by their log-likelihood of held-out rows, in nats per row. The ELBO of a VAE is below its $\log
#   p(x)$, and its training has local optima.
#
# Tutorial 07 treats the linear VAE, whose $p(x)$ has a closed form and which is probabilistic PCA. Tutorial 08 splits
# the gap into two parts: the cost of the Gaussian family and the cost of the shared encoder.

# %% [markdown]
# ## Exercises
#
# 1. In section 3 take $x = (0, 0)$, where the posterior is symmetric. How small does the KL get?
# 2. In section 6 fit the VAE with `GaussianDecoder(1, 2, hidden=(50, 50), variance="shared")`. Why does it find the
#    curve, and what does it lose?
# 3. In section 7 fit a VAE with `hidden=()` for its decoder. How much lower is its log-likelihood, and what changes in
#    its latent plane?

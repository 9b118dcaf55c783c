"""The density of a conjugate q(theta) of a mixture, averaged over all relabellings of its components.

A posterior of a mixture has k! equal modes, one for each labelling, and q covers one of them. The average covers all.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Independent

from ...models import BayesianMixture
from ...models.bayesian.parameter_sites import Theta

MAX_COMPONENTS = 12  # the permanent takes 2^k sums
DRAWS = 256  # at a time, so that the sums over all subsets fit in memory


def log_permutation_averaged_density(
    model: BayesianMixture, theta: Theta, exchangeable: Bool[Tensor, "k k"]
) -> Float[Tensor, " s"]:
    """log of the mean of q(permuted theta) over all permutations that exchange only `exchangeable` components.

    q is a product over components and shared parameters, so that this sum over permutations is a permanent.
    """
    pairs, shared = log_component_densities(model, theta)
    sums = log_permanent(pairs.masked_fill(~exchangeable, -torch.inf))
    return sums + shared - log_permanent(torch.where(exchangeable, 0.0, -torch.inf).double().unsqueeze(0))


def log_component_densities(model: BayesianMixture, theta: Theta) -> tuple[Float[Tensor, "s k k"], Float[Tensor, " s"]]:
    """log density of component j of each draw under component l of the conjugate q [s, j, l], and of the shared
    parameters. The trace of the first plus the second is log q(theta)."""
    k, beliefs = model.beliefs.components, model.beliefs
    concentration, log_weights = model.shares.concentration, theta["weights"].log()
    normalizer = torch.lgamma(concentration.sum()) - torch.lgamma(concentration).sum()
    shared = normalizer.expand(len(log_weights)).clone()
    pairs = log_weights.unsqueeze(-1) * (concentration - 1)
    pairs = torch.where(concentration == 1, 0.0, pairs)  # also where a weight underflows to 0
    for shift in range(k):
        component = torch.arange(k)  # of q
        j = (component + shift) % k  # of the draw
        moved = beliefs.relabel({name: theta[name] for name in beliefs.supports()}, j.expand(len(log_weights), k))
        for name, site in beliefs.posterior(moved):
            while isinstance(site, Independent):
                site = site.base_dist
            density = site.log_prob(moved[name])
            if name not in beliefs.shared:
                pairs[:, j, component] += density.reshape(len(log_weights), k, -1).sum(-1)
            elif shift == 0:
                shared += density.reshape(len(log_weights), -1).sum(-1)
    return pairs, shared


def log_permanent(pairs: Float[Tensor, "s k k"]) -> Float[Tensor, " s"]:
    """log of the sum over all permutations of prod_j exp(pairs[s, j, order[j]]), by sums over subsets: O(k 2^k)."""
    return torch.cat([_log_permanent(some.permute(1, 2, 0)) for some in pairs.split(DRAWS)])


def _log_permanent(pairs: Float[Tensor, "k k s"]) -> Float[Tensor, " s"]:
    k, _, s = pairs.shape
    sums = pairs.new_full((2**k, s), -torch.inf)  # of a subset of m columns: over all matchings with the first m rows
    sums[0] = 0.0
    subsets = torch.arange(2**k)
    members = (subsets.unsqueeze(1) >> torch.arange(k)) & 1  # (2^k, k)
    for j in range(k):
        size = subsets[members.sum(1) == j + 1]
        at = members[size].nonzero()[:, 1].reshape(len(size), j + 1)
        before = size.unsqueeze(1) - (1 << at)
        sums[size] = torch.logsumexp(sums[before] + pairs[j, at], 1)
    return sums[-1]

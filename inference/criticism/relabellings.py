"""The density of q over all relabellings of its components, which are as many modes of the posterior."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Independent

from ...models import BayesianMixture
from ...models.bayesian.parameter_sites import Theta

MOST = 12  # components: sums over relabellings take 2^k sums of single components
DRAWS = 256  # at a time, so that the sums of all subsets stay in memory


def log_mean_density(model: BayesianMixture, theta: Theta, alike: Bool[Tensor, "k k"]) -> Float[Tensor, " s"]:
    """log of the mean of the conjugate q(theta) over the relabellings of theta that exchange components that are
    `alike`: a permanent, since q is a product over components (but for what they share)."""
    pairs, rest = log_pairs(model, theta)
    sums = log_permanent(pairs.masked_fill(~alike, -torch.inf))
    return sums + rest - log_permanent(torch.where(alike, 0.0, -torch.inf).double().unsqueeze(0))


def log_pairs(model: BayesianMixture, theta: Theta) -> tuple[Float[Tensor, "s k k"], Float[Tensor, " s"]]:
    """log of the density that component j of each draw has as component l of the conjugate q [s, j, l], and of what all
    components have in common; the diagonals of the first add up to log q(theta), with the second."""
    k, beliefs = model.beliefs.components, model.beliefs
    concentration, log_weights = model.shares.concentration, theta["weights"].log()
    normalizer = torch.lgamma(concentration.sum()) - torch.lgamma(concentration).sum()
    rest = normalizer.expand(len(log_weights)).clone()
    pairs = log_weights.unsqueeze(-1) * (concentration - 1)
    pairs = torch.where(concentration == 1, 0.0, pairs)  # of a weight that is 0 to rounding, too
    for shift in range(k):
        belief = torch.arange(k)
        j = (belief + shift) % k  # the component of the draw that stands there
        moved = beliefs.relabel({name: theta[name] for name in beliefs.supports()}, j.expand(len(log_weights), k))
        for name, site in beliefs.posterior(moved):
            while isinstance(site, Independent):
                site = site.base_dist
            density = site.log_prob(moved[name])
            if name not in beliefs.shared:
                pairs[:, j, belief] += density.reshape(len(log_weights), k, -1).sum(-1)
            elif shift == 0:
                rest += density.reshape(len(log_weights), -1).sum(-1)
    return pairs, rest


def log_permanent(pairs: Float[Tensor, "s k k"]) -> Float[Tensor, " s"]:
    """log of the sum over all permutations of prod_j exp(pairs[s, j, order[j]]), by sums over subsets: O(k 2^k)."""
    return torch.cat([_log_permanent(some.permute(1, 2, 0)) for some in pairs.split(DRAWS)])


def _log_permanent(pairs: Float[Tensor, "k k s"]) -> Float[Tensor, " s"]:
    k, _, s = pairs.shape
    sums = pairs.new_full((2**k, s), -torch.inf)  # of a subset: the ways to put the first components there
    sums[0] = 0.0
    subsets = torch.arange(2**k)
    members = (subsets.unsqueeze(1) >> torch.arange(k)) & 1  # (2^k, k)
    for j in range(k):
        size = subsets[members.sum(1) == j + 1]
        at = members[size].nonzero()[:, 1].reshape(len(size), j + 1)
        before = size.unsqueeze(1) - (1 << at)
        sums[size] = torch.logsumexp(sums[before] + pairs[j, at], 1)
    return sums[-1]

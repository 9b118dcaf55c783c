"""Which components of a mixture may exchange their labels, because they have the same prior, and in how many ways."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from .mixture_with_posterior import MixtureWithPosterior


class ExchangeableLabels(MixtureWithPosterior):
    """The part of `BayesianMixture` that knows which relabellings of its components are equally good."""

    def exchangeable(self, labels: Any = None) -> Bool[Tensor, "k k"]:
        """Which pairs of components may exchange their labels: those with the same prior of theta and no labelled rows.

        Args:
            labels: (n,), the known components of rows, -1 where unknown; None for no known ones.

        Returns:
            (k, k), True on the diagonal.

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson
            >>> BayesianMixture(Poisson(3, 1)).exchangeable(labels=[0, -1, -1]).int().tolist()
            [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
        """
        same = self.beliefs.exchangeable()
        named = torch.as_tensor([] if labels is None else labels, dtype=torch.long).unique()
        named = named[named >= 0]
        same[named] = same[:, named] = False
        return same | torch.eye(self._k, dtype=torch.bool)

    def alike(self, labels: Any = None) -> Bool[Tensor, "k k"]:
        """The former name of `exchangeable`."""
        warnings.warn("BayesianMixture.alike is now called exchangeable", DeprecationWarning, stacklevel=2)
        return self.exchangeable(labels)

    def log_labellings(self, labels: Any = None) -> float:
        """The log of the number of relabellings of q that are as good as q and do not overlap with it.

        That is log K! - log M!, for K exchangeable components of which M are empty. A component is empty if it has less
        than one row, or, where q does not count rows, a weight below 0.01. The bound of log p(all rows) counts one
        labelling. The bound of the mixture over all labellings is higher by this number.

        Args:
            labels: (n,), the known components of rows, -1 where unknown; None for no known ones.

        Returns:
            Nats. 0 with `stick_breaking`, where the order of components has a meaning.

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 1)), [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]])
            >>> round(model.log_labellings(), 3)  # log 2!
            0.693
        """
        if not self.shares.exchangeable:
            return 0.0
        empty = self.q.empty_components()
        groups = self.exchangeable(labels).unique(dim=0)
        return sum(math.lgamma(int(g.sum()) + 1) - math.lgamma(int((g & empty).sum()) + 1) for g in groups)

    @torch.no_grad()
    def permute(self, order: Any) -> None:
        """Relabel the components in place: component j becomes the former component order[j].

        Args:
            order: (k,), a permutation of 0 .. k - 1.

        Raises:
            ValueError: order is no permutation, or it moves components whose priors differ: then labels have a meaning.

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 1)), [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]])
            >>> model.permute([1, 0])
            >>> model.family.rate.flatten().round(decimals=1).tolist()
            [8.4, 1.6]
        """
        order = self._checked_order(order)
        moved = ~self.exchangeable()[torch.arange(self._k), order]
        if moved.any():
            j = int(moved.nonzero()[0])
            raise ValueError(
                f"got order {order.tolist()}, but the priors of components {j} and {int(order[j])} differ, expected "
                "an order that leaves them where they are: their labels are part of the model"
            )
        self.q.permute(order)

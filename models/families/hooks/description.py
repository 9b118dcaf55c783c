"""The description of a family: what tables and pictures show of its components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ....data.moments import Moments
from .density import Density


@dataclass(frozen=True)
class Profile:
    """Numbers that describe the components: m numbers of one kind for each of k components.

    Args:
        kind: What the numbers are, such as "rate".
        values: (k, m) the numbers.
        columns: (m,) the column of the data that each number belongs to; -1 if it belongs to no single column.
        levels: (m,) the code whose probability each number is (kind "P"); None for other kinds.

    Example:
        >>> import torch
        >>> from lowerbound.models import Profile
        >>> Profile("rate", torch.tensor([[1.0, 9.0], [6.0, 2.0]]), columns=range(2)).values.shape
        torch.Size([2, 2])
    """

    kind: str
    values: Float[Tensor, "k m"]
    columns: Sequence[int]
    levels: Sequence[int] | None = None


class Description(Density):
    """Moments and profiles of the components, by default those of `component()`."""

    def moments(self) -> Moments:
        """Mean (k, d) and covariance (k, d, d) of each component."""
        component = self.component()
        return Moments(component.mean.detach(), torch.diag_embed(component.variance.detach()))

    def profiles(self) -> list[Profile]:
        """The numbers that describe the components. By default means and standard deviations; of a
        distribution that has none, such as a Cauchy, its parameters."""
        try:
            moments = self.moments()
        except NotImplementedError:
            return self._parameters_of_components()
        if moments.mean.isnan().any():
            return self._parameters_of_components()
        columns = range(moments.mean.shape[-1])
        deviation = moments.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        return [Profile("mean", moments.mean, columns), Profile("s.d.", deviation, columns)]

    def _parameters_of_components(self) -> list[Profile]:
        """The parameters that each component has, by columns where there is one number for each."""
        found = []
        for name in self._pyro_params:
            value = self.value(name).detach()
            if value.ndim and len(value) == self.components:
                columns = range(self.features) if value.shape[1:] == (self.features,) else [-1] * value[0].numel()
                found.append(Profile(name, value.reshape(len(value), -1), columns))
        return found

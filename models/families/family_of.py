"""Any distribution of Pyro as components: a family that needs no formula for its M-step, only gradients."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from .abilities import AllowsFrozen, TakesMissing
from .family import Profile
from .hooks.density import never_where_overflowed
from .scoring_start import ScoringStart

THIN = 1e-10  # a variance relative to others
ROUNDING = 1e-14  # a standard deviation relative to the location: neighbouring numbers are 2e-16 apart


class FamilyOf(ScoringStart, AllowsFrozen, TakesMissing):
    """Components of any distribution of Pyro: x | z = k ~ distribution(parameters[k]).

    A distribution of single numbers, such as Laplace, applies to each column separately, with parameters (k, d). One of
    whole rows, such as MultivariateStudentT, has parameters with the component on dim 0. Rows may have missing values
    in the first case.

    Parameters: those of the distribution, under their names there, each inside its constraint.

    The M-step is one step of scoring (Berndt, Hall, Hall & Hausman 1974). The engine shortens it where it would lower
    the bound (generalized EM: Dempster, Laird & Rubin 1977), so that a fit ends where the gradient is zero.

    Args:
        distribution: A class of `pyro.distributions`.
        components: k, the number of components.
        features: d, the number of columns of x.
        parameters: Names of the parameters to fit. By default those that the constructor requires, or has numbers for.
        fixed: Arguments that are not fitted, by name, such as {"total_count": 10}.
        prior: None for maximum likelihood; distributions by parameter name; or "weak": a k-th of the information of a
            row, around the fit of one component to all rows.

    Raises:
        TypeError: distribution is not a class of `pyro.distributions`.
        ValueError: It cannot be made of these parameters, or gives rows of another shape than (features,).

    Example:
        >>> import torch
        >>> import pyro.distributions as dist
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import FamilyOf, Mixture
        >>> x = torch.tensor([[1.0], [5.0], [7.0]])
        >>> half_normal = fit(Mixture(FamilyOf(dist.HalfNormal, components=1, features=1)), x, EM()).model.family
        >>> round(half_normal.scale.item() ** 2, 3)  # the mean square
        25.0
    """

    generalized = True

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(x | z = k) in nats, differentiable in the parameters."""
        component = self.build({name: self.value(name) for name in self.names})
        return never_where_overflowed(component.log_prob(x.unsqueeze(-2)), x)

    @property
    def least_rows(self) -> int:
        """2 without a prior of a scale: the density of one row may have no upper bound."""
        return 0 if self.has_prior else 2

    def profiles(self) -> list[Profile]:
        """The parameters."""
        found = []
        for name in self.names:
            value = self.value(name).detach()
            if value.ndim == 3:  # a matrix: its lower triangle has all free numbers
                found += [
                    Profile(f"{name}[{i},{j}]", value[:, i, j : j + 1], [-1])
                    for i in range(value.shape[1])
                    for j in range(i + 1)
                ]
            else:
                columns = range(self.features) if value.ndim == 2 else [-1]
                found.append(Profile(name, value.reshape(len(value), -1), columns))
        return found

    def shrunk(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, "k d"]:
        """(k, d) the columns in which the squared scale of a component is tiny relative to the average component, or is
        no more than the rounding of its own location.

        A distribution on positive numbers must be tiny relative to its own mean, too: in a scale family, such as the
        exponential, components may differ by any factor.
        """
        try:
            centre, squared = self._location_and_square()
        except NotImplementedError:  # a distribution without mean and variance
            return super().shrunk(weights)
        thin = squared < THIN * (weights @ squared)
        if self.location_parameter is None:
            thin = thin & (squared < THIN * centre**2)
        return thin | ((squared <= (ROUNDING * centre) ** 2) & centre.isfinite())

    def _location_and_square(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """A location and a squared width of each component and column: by parameters, where the tails may be so heavy
        that there is no variance, else mean and variance."""
        if self.location_parameter is not None and "scale" in self.names:
            loc, scale = self.value("loc").detach(), self.value("scale").detach()
            return loc, (scale**2).expand_as(loc)
        moments = self.moments()
        return moments.mean, moments.covariance.diagonal(dim1=-2, dim2=-1)

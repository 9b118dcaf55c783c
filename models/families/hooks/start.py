"""The start of a family: first parameters, and the units in which parameters are measured."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ....data.moments import Moments
from .m_step import MStep


class Start(MStep):
    """First parameters from some rows. A mixture draws centres by k-means++ in the family's `coordinates`."""

    robust_start: bool = False  # whether a start ignores rows far outside: for components with heavy tails
    location_parameter: str | None = None  # the parameter (k, d) that says where the components are, if there is one

    def start(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> None:
        """Set first parameters from some rows and the share of each component in them. By default one M-step."""
        self.maximize(responsibilities.sum(0), self.summarize(x, responsibilities))

    def coordinates(self, x: Float[Tensor, "n d"], data: Moments) -> Float[Tensor, "n c"]:
        """Rows as points whose Euclidean distances k-means++ uses. By default standardized columns."""
        spread = data.covariance.diagonal().sqrt()
        return (x - data.mean) / spread.where(spread > 0, 1.0)

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Learn the units of the data before a fit, without changing the distribution. By default nothing.

        Args:
            centres: Where the components start, or None: where they are now.
            data: Mean and covariance of all rows.
        """

    def fixed_location(self) -> Float[Tensor, "k d"] | None:
        """Where the components are, if `location_parameter` is frozen; else None."""
        name = self.location_parameter
        return self.value(name).detach() if name and self.is_frozen(name) else None

"""What a family may do beyond the hooks that all have, each ability one short class.

The class line of a family says what it can do: `class Poisson(ExponentialFamily, Conjugate, TakesMissing, SideBySide)`.
An ability sets a flag, such as `takes_missing`, which other code asks for. It brings the hooks that go with it and
their defaults. `check_family` tests the abilities that a family claims. A family made of others, such as `Product`,
may set a flag for each object. Imports: `Family` and its hooks, kernels.
"""

from .allows_frozen import AllowsFrozen
from .conjugate import Conjugate
from .expected_log_prob import HasExpectedLogProb
from .side_by_side import SideBySide
from .takes_missing import TakesMissing

__all__ = ["AllowsFrozen", "Conjugate", "HasExpectedLogProb", "SideBySide", "TakesMissing"]

"""What a family may do beyond the hooks that all have, each ability one short class.

The class line of a family provides hooks: `class Poisson(ExponentialFamily, Conjugate, TakesMissing, SideBySide)`. An
ability brings its hooks, their defaults and a flag, such as `takes_missing`. The flag of the object decides, and other
code asks for it. An object may lack an ability of its class: a `FamilyOf` of a joint distribution does not take missing
values, and a `Categorical` whose columns differ in their number of levels is not conjugate. A `Product` has the
abilities that its parts allow. `check_family` tests the abilities whose flags are True.

    >>> from lowerbound.models import Categorical
    >>> Categorical(2, levels=[3, 3]).is_conjugate, Categorical(2, levels=[3, 4]).is_conjugate
    (True, False)

Imports: `Family` and its hooks, and what is below `families` in the layers of pyproject.toml.
"""

from .allows_frozen import AllowsFrozen
from .conjugate import Conjugate
from .expected_log_prob import HasExpectedLogProb
from .side_by_side import SideBySide
from .takes_missing import TakesMissing

__all__ = ["AllowsFrozen", "Conjugate", "HasExpectedLogProb", "SideBySide", "TakesMissing"]

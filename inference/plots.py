"""The figures under their public name, `lowerbound.inference.plots`; they live in `report/plots`."""

from .report.plots import *  # noqa: F403
from .report.plots import __all__ as __all__

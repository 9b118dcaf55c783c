"""How a model is fitted and compared: EM, SVI, and everything on one scale, nats per row."""

from .align import align
from .compare import Comparison, compare
from .em import EM
from .files import load
from .fit import Engine, Fit, Optimum, fit
from .gap import Gap, elbo_gap
from .kl import kl
from .svi import SVI

__all__ = [
    "EM",
    "SVI",
    "Comparison",
    "Engine",
    "Fit",
    "Gap",
    "Optimum",
    "align",
    "compare",
    "elbo_gap",
    "fit",
    "kl",
    "load",
]

"""How a model is fitted and compared: EM, online EM, SVI, and everything on one scale, nats per row."""

from .align import align
from .compare import Comparison, compare
from .em import EM
from .evidence import Evidence, evidence
from .files import load
from .fit import Fit, Optimum, fit
from .gap import Gap, elbo_gap
from .gap_report import GapReport, gap_report
from .kl import kl
from .online import OnlineEM
from .restart import Engine
from .svi import SVI

__all__ = [
    "EM",
    "SVI",
    "Comparison",
    "Engine",
    "Evidence",
    "Fit",
    "Gap",
    "GapReport",
    "OnlineEM",
    "Optimum",
    "align",
    "compare",
    "elbo_gap",
    "evidence",
    "fit",
    "gap_report",
    "kl",
    "load",
]

"""How a model is fitted and compared: EM, online EM, SVI, and everything on one scale, nats per row."""

from .align import align
from .arviz_export import to_arviz
from .bootstrap import Bootstrap, bootstrap
from .compare import Comparison, compare
from .em import EM
from .evidence import Evidence, evidence
from .files import load
from .fit import Fit, Optimum, fit
from .gap import Gap, elbo_gap
from .gap_report import GapReport, gap_report
from .kl import kl
from .nuts import NUTS
from .online import OnlineEM
from .pareto import Reliability, reliability
from .relabel import relabel
from .restart import Engine
from .select import Selection, select
from .shard import Local
from .svi import SVI
from .uncertainty import StandardErrors, standard_errors

__all__ = [
    "EM",
    "NUTS",
    "SVI",
    "Bootstrap",
    "Comparison",
    "Engine",
    "Evidence",
    "Fit",
    "Gap",
    "GapReport",
    "Local",
    "OnlineEM",
    "Optimum",
    "Reliability",
    "Selection",
    "StandardErrors",
    "align",
    "bootstrap",
    "compare",
    "elbo_gap",
    "evidence",
    "fit",
    "gap_report",
    "kl",
    "load",
    "relabel",
    "reliability",
    "select",
    "standard_errors",
    "to_arviz",
]

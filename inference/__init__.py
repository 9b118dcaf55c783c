"""How a model is fitted and compared: EM, online EM, SVI, and everything on one scale, nats per row."""

from .criticism.align import align
from .criticism.bootstrap import Bootstrap, bootstrap
from .criticism.compare import compare
from .criticism.comparison import Comparison
from .criticism.elbo_gap import Gap, elbo_gap
from .criticism.evidence import Evidence, evidence
from .criticism.gap_report import GapReport, gap_report
from .criticism.kl import kl
from .criticism.reliability import Reliability, reliability
from .criticism.select import select
from .criticism.selection import Selection
from .criticism.standard_errors import StandardErrors, standard_errors
from .criticism.to_arviz import to_arviz
from .engines.contract import Engine
from .engines.em import EM
from .engines.nuts import NUTS
from .engines.online_em import OnlineEM
from .engines.relabel import relabel
from .engines.svi import SVI
from .fitting.distributed_rows import Local
from .fitting.fit import fit
from .fitting.fit_result import Fit, Optimum
from .fitting.save_and_load import load

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

"""How a model is fitted, compared and shown, with every number on one scale: the lower bound in nats per row.

Five folders, each of which imports only from those after it, and from `lowerbound.models` and `lowerbound.data`:

- `cli`: the command line.
- `report`: tables, pages and figures of a result.
- `criticism`: how good fits are: `compare`, `select`, gaps, evidence, standard errors, relabelling between fits, ArviZ.
- `fitting`: `fit` and its result, restarts, checkpoints, saved files.
- `engines`: EM, online EM, SVI, NUTS, and the contract for your own engine.

This file exports the public names. The few calls from a lower folder to a higher one are listed in `upward.py`.
"""

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

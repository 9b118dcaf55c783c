from .em import EM
from .fit import Fit, fit
from .svi import SVI

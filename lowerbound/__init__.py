"""Latent variable models as Pyro model/guide pairs whose guide is the E-step.

Every inference algorithm raises the same evidence lower bound. So expectation-maximization (EM), stochastic variational
inference (SVI) and the other engines are fitted, measured and compared on one scale: nats per row.

`lowerbound.models` holds what is believed about the data, `lowerbound.inference` how it is fitted and compared,
`lowerbound.data` how tables are read, `lowerbound.datasets` small real tables. Inference imports from models, models
import from data, data from datasets, and never the other way round. This file imports nothing, so that
`import lowerbound` is fast.
"""

__version__ = "0.1.0"

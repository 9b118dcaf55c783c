"""Latent variable models as Pyro model/guide pairs whose guide is the E-step.

Every inference algorithm raises the same evidence lower bound, so expectation-maximisation (EM) and
stochastic variational inference (SVI) are fitted, measured and compared on one scale: nats per row.
What is believed about the data lives in `lowerbound.models`, how it is fitted and compared in
`lowerbound.inference`, small real tables in `lowerbound.datasets`.
"""

__version__ = "0.1.0"

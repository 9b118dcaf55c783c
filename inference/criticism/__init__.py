"""How good a fit is and how far to trust it: comparison, selection, bounds, uncertainty, export to ArviZ.

What lives here: `compare` and `select` with the results they return; the evidence and its gap to the ELBO (`evidence`,
`elbo_gap`, `gap_report`, `kl`); labels of components (`align`); the uncertainty of estimates (`standard_errors`,
`bootstrap`); the quality of an approximate posterior (`reliability`); and `to_arviz`.

What a new criterion must offer: a function of fits or models and a table of rows that leaves both as they are, gives
the same numbers for the same seed, and returns a frozen dataclass with `frame()` or a short `str()`. It reads models
through their contract (`models.contract`) and their optional abilities (`models.abilities`), so that a new model works
without an edit here. Code that reads parameters of mixtures asks for their classes instead: `reliability` for a
`BayesianMixture`, and `to_arviz` (with `arviz_dimensions` and `mixture_draws`) for a `BayesianMixture`, `Mixture`,
`KMeans` or `Product`. The report above does so, too, when it writes the draws of a `BayesianMixture`.

It may import from `inference.fitting`, `inference.engines`, `models` and `data`. Text, plots and the command line are
above it; a result reaches them through `inference.upward` alone.
"""

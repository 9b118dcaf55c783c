"""Figures of a comparison, and of one model with a continuous latent variable.

`figures` draws all figures of a comparison. `samples` draws rows from a model of any kind; `reconstructions`,
`latent_map`, `traversals` and `latent_grid` show what a `PPCA` or `VAE` has learned. The code is in `report/plots`.
"""

from .report.plots import figures, latent_grid, latent_map, reconstructions, samples, traversals

__all__ = ["figures", "latent_grid", "latent_map", "reconstructions", "samples", "traversals"]

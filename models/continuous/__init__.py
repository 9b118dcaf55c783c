"""Models whose latent variable is a vector, z ~ N(0, I): PPCA, the VAE, and the networks that the VAE is made of.

What lives here: `ContinuousLatent`, the base class with all that such models share; `Draws`, draws of z with the terms
of the bound; the models `PPCA` and `VAE`; encoders q(z | x) and decoders p(x | z), each of them a `Network`.

A new model derives from `ContinuousLatent`, whose docstring lists the methods to write. A new encoder or decoder is any
torch.nn.Module that returns a distribution of `pyro.distributions`; one that derives from `Network` can learn the units
of the data. Imports: what is below `continuous` in the layers of pyproject.toml.
"""

"""The options that several commands share, with their help texts."""

from __future__ import annotations

from typing import Annotated

import typer

from .models_by_name import BATCH, COMPONENTS, HIDDEN, LATENT, MODELS

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="A built-in data set, a .csv, .parquet or .npy file, or a folder of .parquet files."
    ),
]
Models = Annotated[str, typer.Option("--model", help=f"One model or several, comma-separated: {', '.join(MODELS)}.")]
Model = Annotated[str, typer.Option(help=f"The model: {', '.join(MODELS)}.")]
Components = Annotated[
    int | None,
    typer.Option(
        "--components",
        "-k",
        min=1,
        max=100_000,
        help="Number of components of a mixture.",
        show_default=str(COMPONENTS),
    ),
]
Covariance = Annotated[
    str | None,
    typer.Option(
        help="For gaussian, student and mixed: full, tied, diag, spherical, tied-diag or tied-spherical.",
        show_default="full",
    ),
]
Prior = Annotated[
    str, typer.Option(help="none: maximum likelihood; weak: a prior that keeps components from collapsing.")
]
Latent = Annotated[
    int | None,
    typer.Option(
        min=1, help="Number of latent dimensions of ppca and vae.", show_default=f"half the columns, at most {LATENT}"
    ),
]
Hidden = Annotated[
    str | None,
    typer.Option(help="Sizes of the hidden layers of vae, comma-separated.", show_default=",".join(map(str, HIDDEN))),
]
VarianceFloor = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Smallest variance, in squared units: for vae, and for gaussian without correlations (diag, ...).",
        show_default="vae: a hundredth of the mean variance of a column",
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Rows in one step of SVI.", show_default=f"all; vae: {BATCH}")
]
LearningRate = Annotated[
    float | None, typer.Option(help="Initial learning rate of SVI.", show_default="0.05; vae: 0.001")
]
Device = Annotated[
    str | None, typer.Option(help="Device that trains networks, such as cuda or cuda:1.", show_default="the CPU")
]
Restarts = Annotated[int, typer.Option(min=1, help="Number of random starts; the best fit is kept.")]
LeastRows = Annotated[
    float | None,
    typer.Option(help="Leave out restarts that end with a component of fewer rows.", show_default="none"),
]
MaxPasses = Annotated[
    int, typer.Option(min=1, help="Largest number of passes over the data. The first one only scores the start.")
]
Seed = Annotated[int, typer.Option(help="Random seed. Engines with the same seed start from the same parameters.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress bars.")]
Kinds = Annotated[
    str | None,
    typer.Option(
        help="For mixed: what columns hold, such as grams=gaussian,answer=categorical,id=drop.",
        show_default="chosen by their values",
    ),
]
Header = Annotated[
    str | None,
    typer.Option(
        help="Whether the first line of a CSV file names the columns: yes or no.",
        show_default="decided by what it holds",
    ),
]

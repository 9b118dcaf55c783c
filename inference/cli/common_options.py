"""The options that the commands have in common, and how they say what went wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from .catalogue import BATCH, COMPONENTS, HIDDEN, LATENT, MODELS

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="A built-in data set, a .csv, .parquet or .npy file, or a folder of .parquet files."
    ),
]
Models = Annotated[str, typer.Option("--model", help=f"One or, comma-separated, more of {', '.join(MODELS)}.")]
Model = Annotated[str, typer.Option(help=f"The model: {', '.join(MODELS)}.")]
Components = Annotated[
    int | None,
    typer.Option("--components", "-k", min=1, help="How many components of a mixture.", show_default=str(COMPONENTS)),
]
Covariance = Annotated[
    str | None,
    typer.Option(
        help="Of gaussian, student and mixed: full, tied, diag, spherical, tied-diag or tied-spherical.",
        show_default="full",
    ),
]
Prior = Annotated[
    str, typer.Option(help="none: maximum likelihood; weak: a prior that keeps components from collapse.")
]
Latent = Annotated[
    int | None,
    typer.Option(min=1, help="Latent dimensions of ppca and vae.", show_default=f"half the columns, at most {LATENT}"),
]
Hidden = Annotated[
    str | None,
    typer.Option(help="Sizes of the hidden layers of vae, comma-separated.", show_default=",".join(map(str, HIDDEN))),
]
VarianceFloor = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Of vae, and of gaussian without correlations (diag, ...): the least variance, in squared units.",
        show_default="vae: a hundredth of the mean variance of a column",
    ),
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Rows of a step of SVI.", show_default=f"all; vae: {BATCH}")]
LearningRate = Annotated[float | None, typer.Option(help="First step of SVI.", show_default="0.05; vae: 0.001")]
Device = Annotated[
    str | None, typer.Option(help="Where networks are trained, such as cuda or cuda:1.", show_default="the processor")
]
Restarts = Annotated[int, typer.Option(min=1, help="Independent starts, of which the best is kept.")]
MaxPasses = Annotated[int, typer.Option(min=1, help="Passes over the data at most.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32, help="The same seed, the same start for every engine.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


def written(path: Path) -> int | None:
    """When a file was written last, None if it is not there."""
    return path.stat().st_mtime_ns if path.is_file() else None


@contextmanager
def plainly(alone: bool = True, kept: Sequence[Path | None] = ()) -> Iterator[None]:
    """What a user can put right is one line on the error stream and exit status 1; Ctrl-C is 130, and says which of the
    files in `kept` were written. alone: whether the command is for one process, and not for torchrun."""
    before = {path: written(path) for path in kept if path}
    try:
        if alone and int(os.environ.get("WORLD_SIZE", 1)) > 1:
            error = ValueError("only fit runs in several processes: start other commands without torchrun")
            vars(error)["told_elsewhere"] = os.environ.get("RANK", "0") != "0"
            raise error
        yield
    except BrokenPipeError:
        raise
    except (ValueError, TypeError, OSError, ArithmeticError, MemoryError) as error:
        if getattr(error, "told_elsewhere", False):  # by the first process of a job
            raise typer.Exit(1) from None
        message = " ".join(str(error).split())
        message = re.sub(r'\b(prior|covariance)="(\w+)"', r"--\1 \2", message)  # as a shell has it
        if isinstance(error, OSError) and error.strerror:
            message = f"{error.strerror}: {error.filename}"
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            files = [str(path) for path, when in before.items() if written(path) != when]
            verb = "were" if len(files) > 1 else "was"
            typer.echo(f"interrupted: {' and '.join(files) or 'nothing'} {verb} written", err=True)
        raise typer.Exit(130) from None

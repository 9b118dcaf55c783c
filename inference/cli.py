"""The command line: `lowerbound compare`, `lowerbound fit`, `lowerbound datasets`.

What takes seconds to import is imported by the commands, so that --help answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from .choices import ENGINES, MODELS, build, pick

app = typer.Typer(
    help="Fit latent variable models by EM and by SVI, and compare them on one scale: nats per row.",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

Data = Annotated[str, typer.Argument(metavar="DATA", help="A built-in data set, or a .csv, .parquet or .npy file.")]
Model = Annotated[str, typer.Option(help=f"The model: {', '.join(MODELS)}.")]
Components = Annotated[int, typer.Option("--components", "-k", min=1, help="How many components.")]
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
Restarts = Annotated[int, typer.Option(min=1, help="Independent starts, of which the best is kept.")]
MaxPasses = Annotated[int, typer.Option(min=1, help="Passes over the data at most.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32, help="The same seed, the same start for every engine.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


@app.command()
def compare(
    data: Data,
    model: Model = "gaussian",
    components: Components = 2,
    covariance: Covariance = None,
    prior: Prior = "none",
    engines: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(ENGINES)}.")] = "em,svi",
    restarts: Restarts = 1,
    max_passes: MaxPasses = 500,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="The folder to write the report to.")] = Path("report"),
    quiet: Quiet = False,
) -> None:
    """Fit one model by several engines from one start, print how they compare, and write a report."""
    with _plainly():
        names = [name.strip() for name in engines.split(",")]
        for name in names:
            pick(name, ENGINES, "--engines")
        if len(set(names)) < len(names):
            raise ValueError(f"--engines is {engines!r}, expected each engine once")
        rows, unfitted = build(data, model, components, covariance, prior)

        from .compare import compare as compare_fits
        from .report import check_writable, write_report

        check_writable(out)
        run = partial(_fit, unfitted, rows, restarts=restarts, max_passes=max_passes, seed=seed, quiet=quiet)
        comparison = compare_fits(rows, **{name: run(name) for name in names})
        title = f"{Path(data).stem}: {model} model, {' and '.join(names)}"
        index = write_report(comparison, out, title)
        typer.echo(f"{comparison}\n\nreport: {index}")


@app.command()
def fit(
    data: Data,
    model: Model = "gaussian",
    components: Components = 2,
    covariance: Covariance = None,
    prior: Prior = "none",
    engine: Annotated[str, typer.Option(help=f"One of {', '.join(ENGINES)}.")] = "em",
    restarts: Restarts = 1,
    max_passes: MaxPasses = 500,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="The file to save the fit to.")] = Path("model.safetensors"),
    quiet: Quiet = False,
) -> None:
    """Fit a model by one engine, print its components, and save it to a file."""
    with _plainly():
        pick(engine, ENGINES, "--engine")
        rows, unfitted = build(data, model, components, covariance, prior)

        from .compare import compare as compare_fits
        from .report import probe
        from .text import components as components_text

        if out.is_dir():
            raise IsADirectoryError(f"cannot write {out}: it is a folder, expected a file")
        if not out.parent.is_dir():
            raise FileNotFoundError(f"cannot write {out}: there is no folder {out.parent}")
        probe(out.parent, f"cannot write {out}")
        fitted = _fit(unfitted, rows, engine, restarts=restarts, max_passes=max_passes, seed=seed, quiet=quiet)
        if hasattr(fitted.model, "canonical_order"):  # the file numbers the components as the tables do
            fitted.model.permute(fitted.model.canonical_order())
        comparison = compare_fits(rows, **{engine: fitted})
        fitted.save(out)
        tables = components_text(comparison, f"load({str(out)!r}).model.summary() has all")
        typer.echo("\n\n".join([str(comparison), tables, f"saved: {out}, to be read by lowerbound.inference.load"]))


@app.command()
def datasets() -> None:
    """List the built-in data sets."""
    with _plainly():
        from ..datasets import load, names

        width = max(map(len, names()))
        for name in names():
            table = load(name)
            rows, columns = table.shape
            listed = ", ".join(table.columns[:4]) + (f", ... ({columns})" if columns > 4 else "")
            typer.echo(f"{name:<{width}} {rows:>6} rows x {columns:<3} {listed}")


def _version(asked: bool) -> bool:
    if asked:
        from .. import __version__

        typer.echo(f"lowerbound {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options of `lowerbound` itself."""


def _fit(model: Any, rows: Any, engine: str, *, restarts: int, max_passes: int, seed: int, quiet: bool) -> Any:
    from .fit import fit as fit_model

    show = not quiet and sys.stderr.isatty()
    chosen = ENGINES[engine]()
    return fit_model(model, rows, chosen, restarts=restarts, max_passes=max_passes, seed=seed, progress=show)


@contextmanager
def _plainly() -> Iterator[None]:
    """What a user can put right is one line on the error stream and exit status 1; Ctrl-C is 130."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (ValueError, TypeError, OSError, ArithmeticError, MemoryError) as error:
        message = " ".join(str(error).split())
        if isinstance(error, OSError) and error.strerror:
            message = f"{error.strerror}: {error.filename}"
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("interrupted: nothing was written", err=True)
        raise typer.Exit(130) from None

"""The application `lowerbound` with its commands."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from ... import __version__
from ...datasets import load, names
from .compare_command import compare
from .error_lines import OneLineGroup, errors_as_one_line
from .fit_command import fit
from .impute_command import impute
from .select_command import select

app = typer.Typer(
    cls=OneLineGroup,
    help="Fit latent variable models by EM and by SVI, and compare them on one scale: nats per row.",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
for command in (compare, fit, select, impute):
    app.command()(command)


@app.command()
def datasets() -> None:
    """List the built-in data sets."""
    with errors_as_one_line():
        width = max(map(len, names()))
        for name in names():
            table = load(name)
            rows, columns = table.shape
            listed = ", ".join(table.columns[:4]) + (f", ... ({columns})" if columns > 4 else "")
            typer.echo(f"{name:<{width}} {rows:>6} rows x {columns:<3} {listed}")


def _version(asked: bool) -> bool:
    if asked:
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
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8

"""The command line: `lowerbound compare`, `fit`, `select`, `impute`, `datasets`.

What takes seconds to import is imported by the commands, so that --help answers at once.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from .catalogue import (
    ENGINES,
    MODELS,
    PRIORS,
    Choices,
    Settings,
    for_engine,
    listing,
    make,
    pick,
    require_taken,
    require_used,
    tables,
)
from .common_options import (
    BatchSize,
    Components,
    Covariance,
    Data,
    Device,
    Hidden,
    Latent,
    LearningRate,
    MaxPasses,
    Model,
    Models,
    Prior,
    Quiet,
    Restarts,
    Seed,
    VarianceFloor,
    plainly,
)
from .select_command import select

app = typer.Typer(
    help="Fit latent variable models by EM and by SVI, and compare them on one scale: nats per row.",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@app.command()
def compare(
    data: Data,
    model: Models = "gaussian",
    components: Components = None,
    covariance: Covariance = None,
    prior: Prior = "none",
    latent: Latent = None,
    hidden: Hidden = None,
    variance_floor: VarianceFloor = None,
    engines: Annotated[
        str | None,
        typer.Option(
            help=f"Comma-separated: {', '.join(ENGINES)}.",
            show_default="em,svi; vae: svi-analytic; of several models, each by its first",
        ),
    ] = None,
    held_out: Annotated[float, typer.Option(help="The share of the rows to hold out and score the fits on.")] = 0.0,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    device: Device = None,
    restarts: Restarts = 1,
    max_passes: MaxPasses = 500,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="The folder to write the report to.")] = Path("report"),
    quiet: Quiet = False,
) -> None:
    """Fit one model by several engines, or several models, print how they compare, and write a report."""
    with plainly():
        models = listing(model, MODELS, "--model")
        chosen = None if engines is None else listing(engines, ENGINES, "--engines")
        choices = _choices(components, covariance, prior, latent, hidden, variance_floor)
        require_taken(models, choices)
        settings = Settings(batch_size, learning_rate)
        require_used(models, chosen or [MODELS[name].engines[-1] for name in models], settings, device)
        if not 0 <= held_out < 1:
            raise ValueError(f"--held-out is {held_out!r}, expected a share of the rows such as 0.2")
        rows, unseen, whole = tables(data, models, held_out, seed)

        from ..criticism.compare import compare as compare_fits
        from ..report.write_report import check_writable, write_report

        unfitted = {name: make(name, whole, choices, device) for name in models}
        check_writable(out)
        fits = {}
        for name in models:
            own = chosen or MODELS[name].engines[: None if len(models) == 1 else 1]
            for engine in own:
                called = engine if len(models) == 1 else name if len(own) == 1 else f"{name} {engine}"
                fits[called] = _fit(
                    name, for_engine(unfitted[name], name, engine), rows, engine, settings,
                    restarts=restarts, max_passes=max_passes, seed=seed, quiet=quiet,
                )  # fmt: skip
        comparison = compare_fits(rows, held_out=unseen, **fits)
        *first, last = fits
        names = " and ".join([", ".join(first), last] if first else [last])
        title = f"{Path(data).stem}: {names}" if len(models) > 1 else f"{Path(data).stem}: {model} model, {names}"
        index = write_report(comparison, out, title)
        typer.echo(f"{comparison}\n\nreport: {index}")


@app.command()
def fit(
    data: Data,
    model: Model = "gaussian",
    components: Components = None,
    covariance: Covariance = None,
    prior: Prior = "none",
    latent: Latent = None,
    hidden: Hidden = None,
    variance_floor: VarianceFloor = None,
    engine: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(ENGINES)}.", show_default="em; vae: svi-analytic")
    ] = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    device: Device = None,
    restarts: Restarts = 1,
    max_passes: MaxPasses = 500,
    seed: Seed = 0,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A file to go on from if it is there, written after every pass.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The file to save the fit to.")] = Path("model.safetensors"),
    quiet: Quiet = False,
) -> None:
    """Fit a model by one engine, print its components, and save it to a file. Started by torchrun, each process reads
    its own part of the rows."""
    with plainly(alone=False, kept=(checkpoint, out)):
        from ..criticism.compare import compare as compare_fits
        from ..engines.collectives import run_on_all
        from ..engines.processes import is_first, job, local_device
        from ..fitting.distributed_rows import rows_for_fit
        from ..report.comparison_text import components as components_text
        from ..report.write_report import probe

        def prepared() -> tuple[Any, Any, str, Settings]:
            chosen = engine or pick(model, MODELS, "--model").engines[0]
            pick(chosen, ENGINES, "--engine")
            choices = _choices(components, covariance, prior, latent, hidden, variance_floor)
            require_taken([model], choices)
            settings = Settings(batch_size, learning_rate)
            require_used([model], [chosen], settings, device)
            rows, *_ = tables(data, [model], 0.0, seed)
            unfitted = make(model, rows_for_fit(rows), choices, local_device(device))
            if is_first():
                if out.is_dir():
                    raise IsADirectoryError(f"cannot write {out}: it is a folder, expected a file")
                if not out.parent.is_dir():
                    raise FileNotFoundError(f"cannot write {out}: there is no folder {out.parent}")
                probe(out.parent, f"cannot write {out}")
            return for_engine(unfitted, model, chosen), rows, chosen, settings

        with job():
            unfitted, rows, chosen, settings = run_on_all(prepared)
            fitted = _fit(
                model, unfitted, rows, chosen, settings,
                restarts=restarts, max_passes=max_passes, seed=seed, quiet=quiet, checkpoint=checkpoint,
            )  # fmt: skip
            if not is_first():
                return
        if hasattr(fitted.model, "canonical_order"):  # the file numbers the components as the tables do
            fitted.model.permute(fitted.model.canonical_order())
        fitted.save(out)  # before it is scored, which reads all rows once more: who interrupts that keeps the fit
        typer.echo(f"saved: {out}, to be read by lowerbound.inference.load\n")
        comparison = compare_fits(rows, **{chosen: fitted})
        parts = [str(comparison), components_text(comparison, f"load({str(out)!r}).model.summary() has all")]
        typer.echo("\n\n".join(part for part in parts if part))


app.command()(select)


@app.command()
def impute(
    data: Data,
    model: Model = "mixed",
    components: Components = None,
    covariance: Covariance = None,
    prior: Prior = "weak",
    variance_floor: VarianceFloor = None,
    restarts: Restarts = 5,
    max_passes: MaxPasses = 500,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="The completed table, .csv or .parquet.")] = Path("filled.csv"),
    quiet: Quiet = False,
) -> None:
    """Fill in missing cells by a mixture fitted to the rest, and write how uncertain each of them is."""
    with plainly():
        pick(model, MODELS, "--model")
        rows, *_ = tables(data, [model], 0.0, seed)
        if not rows.gaps.cells:
            raise ValueError(f"{Path(data).name} has no missing cells, expected some to fill in")
        choices = _choices(components, covariance, prior, None, None, variance_floor)
        require_taken([model], choices)
        unfitted = make(model, rows, choices, None)

        from .impute_command import check_place, summary, uncertainty_file, write_imputed

        check_place(out, data)
        fitted = _fit(
            model, unfitted, rows, "em", Settings(), restarts=restarts, max_passes=max_passes, seed=seed, quiet=quiet
        )
        found = fitted.model.impute(rows.table)
        write_imputed(found, out)
        typer.echo(f"{summary(fitted, rows, found)}\n\ntable: {out}, uncertainties: {uncertainty_file(out)}")


@app.command()
def datasets() -> None:
    """List the built-in data sets."""
    with plainly():
        from ...datasets import load, names

        width = max(map(len, names()))
        for name in names():
            table = load(name)
            rows, columns = table.shape
            listed = ", ".join(table.columns[:4]) + (f", ... ({columns})" if columns > 4 else "")
            typer.echo(f"{name:<{width}} {rows:>6} rows x {columns:<3} {listed}")


def _version(asked: bool) -> bool:
    if asked:
        from ... import __version__

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


def _choices(
    components: int | None,
    covariance: str | None,
    prior: str,
    latent: int | None,
    hidden: str | None,
    variance_floor: float | None,
) -> Choices:
    sizes = None
    if hidden is not None:
        try:
            sizes = tuple(int(size) for size in hidden.split(","))
        except ValueError:
            raise ValueError(f"--hidden is {hidden!r}, expected sizes of layers such as 200,200") from None
    return Choices(components, covariance, pick(prior, PRIORS, "--prior"), latent, sizes, variance_floor)


def _fit(
    name: str,
    model: Any,
    rows: Any,
    engine: str,
    settings: Settings,
    *,
    restarts: int,
    max_passes: int,
    seed: int,
    quiet: bool,
    checkpoint: Path | None = None,
) -> Any:
    from ..fitting.fit import fit as fit_model

    show = not quiet and sys.stderr.isatty()
    if settings.batch_size is None:
        settings = replace(settings, batch_size=MODELS[name].batch_size)
    return fit_model(
        model, rows, ENGINES[engine](settings),
        restarts=restarts, max_passes=max_passes, seed=seed, progress=show, checkpoint=checkpoint,
    )  # fmt: skip

"""`lowerbound compare`: one model by several engines, or several models, in one table and a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ...data.model_abilities import remembered_schema
from ..criticism.compare import compare as compare_fits
from ..criticism.rows_of_models import require_one_coding
from ..fitting.fit_arguments import require_least_rows
from .common_options import (
    BatchSize,
    Components,
    Covariance,
    Data,
    Device,
    Header,
    Hidden,
    Kinds,
    Latent,
    LearningRate,
    LeastRows,
    MaxPasses,
    Models,
    Prior,
    Quiet,
    Restarts,
    Seed,
    VarianceFloor,
)
from .engines_by_name import ENGINES, EngineOptions, model_for_engine, require_engine_options
from .error_lines import errors_as_one_line
from .models_by_name import MODELS, build_model, model_options, require_model_options
from .name_options import split_names
from .output_files import require_not_input
from .read_rows import read_rows
from .run_fit import run_fit


def compare(
    data: Data,
    model: Models = "gaussian",
    components: Components = None,
    covariance: Covariance = None,
    prior: Prior = "none",
    latent: Latent = None,
    hidden: Hidden = None,
    variance_floor: VarianceFloor = None,
    kinds: Kinds = None,
    header: Header = None,
    engines: Annotated[
        str | None,
        typer.Option(
            help=f"Comma-separated: {', '.join(ENGINES)}.",
            show_default="em,svi; vae: svi-analytic; with several models, the first of each",
        ),
    ] = None,
    held_out: Annotated[
        float, typer.Option(help="Share of the rows that is held out of the fits and scored afterwards.")
    ] = 0.0,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    device: Device = None,
    restarts: Restarts = 1,
    least_rows: LeastRows = None,
    max_passes: MaxPasses = 500,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder that the report is written to.")] = Path("report"),
    quiet: Quiet = False,
) -> None:
    """Fit one model by several engines, or several models, print a table of their scores, and write a report."""
    with errors_as_one_line():
        models = split_names(model, MODELS, "--model")
        chosen = None if engines is None else split_names(engines, ENGINES, "--engines")
        options = model_options(components, covariance, prior, latent, hidden, variance_floor, kinds)
        require_model_options(models, options)
        engine_options = EngineOptions(batch_size, learning_rate)
        require_engine_options(models, chosen or [MODELS[name].engines[-1] for name in models], engine_options, device)
        if not 0 <= held_out < 1:
            raise ValueError(f"--held-out is {held_out!r}, expected a share of the rows such as 0.2")
        read = read_rows(data, models, held_out, seed, header, options.kinds, components)
        rows, rows_held_out, options = read.rows, read.held_out, replace(options, kinds=read.kinds)

        from ..report.write_report import (  # late: matplotlib takes a second to import
            FILES,
            require_report_folder,
            write_report,
        )

        unfitted = {name: build_model(name, read.every_row, options, device) for name in models}
        require_one_coding({name: remembered_schema(each) or rows.schema for name, each in unfitted.items()})
        require_report_folder(out)
        require_not_input([out / name for name in FILES], data)
        typer.echo(str(read), nl=False)
        planned = {}
        for name in models:
            of_model = chosen or MODELS[name].engines[: None if len(models) == 1 else 1]
            for engine in of_model:
                label = engine if len(models) == 1 else name if len(of_model) == 1 else f"{name} {engine}"
                planned[label] = name, model_for_engine(unfitted[name], name, engine), engine
        for _, own, _ in planned.values():  # before the first fit, which may take long
            require_least_rows(least_rows, own)
        fits = {
            label: run_fit(
                name, own, rows, engine, engine_options,
                restarts=restarts, max_passes=max_passes, seed=seed, quiet=quiet, least_rows=least_rows,
            )
            for label, (name, own, engine) in planned.items()
        }  # fmt: skip
        comparison = compare_fits(rows, held_out=rows_held_out, **fits)
        *first, last = fits
        names = " and ".join([", ".join(first), last] if first else [last])
        title = f"{Path(data).stem}: {names}" if len(models) > 1 else f"{Path(data).stem}: {model} model, {names}"
        index = write_report(comparison, out, title)
        typer.echo(f"{comparison}\n\nreport: {index}")

"""`lowerbound impute`: fill in missing values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .common_options import (
    Components,
    Covariance,
    Data,
    Header,
    Kinds,
    MaxPasses,
    Model,
    Prior,
    Quiet,
    Restarts,
    Seed,
    VarianceFloor,
)
from .engines_by_name import EngineOptions
from .error_lines import errors_as_one_line
from .imputation_files import imputation_summary, require_output_files, uncertainty_file, write_imputed
from .models_by_name import MODELS, build_model, model_options, require_model_options
from .name_options import look_up
from .read_rows import read_rows
from .run_fit import run_fit


def impute(
    data: Data,
    model: Model = "mixed",
    components: Components = None,
    covariance: Covariance = None,
    prior: Prior = "weak",
    variance_floor: VarianceFloor = None,
    kinds: Kinds = None,
    header: Header = None,
    restarts: Restarts = 5,
    max_passes: MaxPasses = 500,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="File for the completed table, .csv or .parquet.")] = Path("filled.csv"),
    quiet: Quiet = False,
) -> None:
    """Fill in missing values by a mixture fitted to the observed values, and write how uncertain each of them is."""
    with errors_as_one_line():
        look_up(model, MODELS, "--model")
        options = model_options(components, covariance, prior, None, None, variance_floor, kinds)
        read = read_rows(data, [model], 0.0, seed, header, options.kinds, components)
        rows = read.rows
        if not rows.gaps.cells:
            raise ValueError(f"{Path(data).name} has no missing values, expected some to fill in")
        require_model_options([model], options)
        unfitted = build_model(model, rows, replace(options, kinds=read.kinds), None)

        require_output_files(out, data)
        typer.echo(str(read), nl=False)
        fitted = run_fit(
            model, unfitted, rows, "em", EngineOptions(),
            restarts=restarts, max_passes=max_passes, seed=seed, quiet=quiet,
        )  # fmt: skip
        imputed = fitted.model.impute(rows.table)
        write_imputed(imputed, read.table, out)
        summary = imputation_summary(fitted, rows, imputed)
        typer.echo(f"{summary}\n\ntable: {out}, uncertainties: {uncertainty_file(out)}")

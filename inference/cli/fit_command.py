"""`lowerbound fit`: one model by one engine, saved to a file; in one process or in several of torchrun."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ...models.abilities import HasComponents
from ..criticism.compare import compare as compare_fits
from ..engines.collectives import run_on_all
from ..engines.processes import is_first, job, local_device
from ..fitting.distributed_rows import rows_for_fit
from ..fitting.file_format import FIT, kind_of
from ..report.comparison_text import components_text
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
    Model,
    Prior,
    Quiet,
    Restarts,
    Seed,
    VarianceFloor,
)
from .engines_by_name import ENGINES, EngineOptions, model_for_engine, require_engine_options
from .error_lines import errors_as_one_line
from .models_by_name import MODELS, build_model, model_options, require_model_options
from .name_options import look_up
from .output_files import is_same, require_output_file
from .read_rows import read_rows
from .run_fit import run_fit


def fit(
    data: Data,
    model: Model = "gaussian",
    components: Components = None,
    covariance: Covariance = None,
    prior: Prior = "none",
    latent: Latent = None,
    hidden: Hidden = None,
    variance_floor: VarianceFloor = None,
    kinds: Kinds = None,
    header: Header = None,
    engine: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(ENGINES)}.", show_default="em; vae: svi-analytic")
    ] = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    device: Device = None,
    restarts: Restarts = 1,
    least_rows: LeastRows = None,
    max_passes: MaxPasses = 500,
    seed: Seed = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File with the state of the run, written after every pass; if it exists, the run resumes."),
    ] = None,
    out: Annotated[Path, typer.Option(help="File that the fit is saved to.")] = Path("model.safetensors"),
    quiet: Quiet = False,
) -> None:
    """Fit a model by one engine, print its components, and save it to a file. Started by torchrun, each process reads
    its own part of the rows."""
    with errors_as_one_line(single_process=False, files=(checkpoint, out)):

        def prepare() -> tuple[Any, Any, str, EngineOptions]:
            chosen = engine or look_up(model, MODELS, "--model").engines[0]
            look_up(chosen, ENGINES, "--engine")
            options = model_options(components, covariance, prior, latent, hidden, variance_floor, kinds)
            require_model_options([model], options)
            engine_options = EngineOptions(batch_size, learning_rate)
            require_engine_options([model], [chosen], engine_options, device)
            read = read_rows(data, [model], 0.0, seed, header, options.kinds, components)
            rows, options = read.rows, replace(options, kinds=read.kinds)
            unfitted = build_model(model, rows_for_fit(rows), options, local_device(device))
            if is_first():
                require_output_file(out, data, lambda path: kind_of(path) == FIT, "a saved fit")
                if checkpoint is not None and is_same(out, checkpoint):
                    raise ValueError(f"--out and --checkpoint are one file, {out}, expected two")
                typer.echo(str(read), nl=False)
            return model_for_engine(unfitted, model, chosen), rows, chosen, engine_options

        with job():
            unfitted, rows, chosen, engine_options = run_on_all(prepare)
            fitted = run_fit(
                model, unfitted, rows, chosen, engine_options,
                restarts=restarts, max_passes=max_passes, seed=seed, quiet=quiet, checkpoint=checkpoint,
                least_rows=least_rows,
            )  # fmt: skip
            if not is_first():
                return
        if isinstance(fitted.model, HasComponents):  # the file numbers the components as the tables do
            fitted.model.permute(fitted.model.canonical_order())
        fitted.save(out)  # before the scores, which read all rows once more: an interruption there keeps the fit
        typer.echo(f"saved: {out}, to be read by lowerbound.inference.load\n")
        comparison = compare_fits(rows, **{chosen: fitted})
        parts = [str(comparison), components_text(comparison, f"load({str(out)!r}).model.summary() has all")]
        typer.echo("\n\n".join(part for part in parts if part))

"""`lowerbound select`: which model, and how many components or latent dimensions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ...models import Gaussian, Rows
from ..criticism.select import select as select_models
from ..report.output_folder import require_writable
from .common_options import Data, LeastRows, MaxPasses, Models, Prior, Quiet, Seed
from .engines_by_name import ENGINES, model_for_engine
from .error_lines import errors_as_one_line
from .models_by_name import MODELS, PRIORS, ModelOptions, build_model, require_model_options
from .name_options import look_up, split_names
from .read_rows import read_rows
from .selection_candidates import CandidateOptions, candidate_options, parse_counts

HEADER = b"candidate,log_likelihood,"  # of selection.csv: tells an earlier selection from another file
Counts = Annotated[
    str | None,
    typer.Option("--components", "-k", help="Numbers of components, such as 1-5 or 2,3,8.", show_default="1-5"),
]
Covariances = Annotated[
    str | None,
    typer.Option(
        help="For gaussian, student, mixed; comma-separated: full, tied, diag, spherical, tied-diag, tied-spherical.",
        show_default="full",
    ),
]
Latents = Annotated[
    str | None, typer.Option(help="Numbers of latent dimensions of ppca, such as 1-3.", show_default="1-3")
]


def select(
    data: Data,
    model: Models = "gaussian",
    components: Counts = None,
    covariance: Covariances = None,
    latent: Latents = None,
    prior: Prior = "none",
    engine: Annotated[str, typer.Option(help=f"One of {', '.join(ENGINES)}.")] = "em",
    folds: Annotated[int, typer.Option(help="Number of cross-validation folds; 0 for none.")] = 5,
    restarts: Annotated[int, typer.Option(min=1, help="Number of random starts of each fit; the best is kept.")] = 10,
    least_rows: LeastRows = None,
    max_passes: MaxPasses = 500,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for selection.csv and selection.png.")] = Path("report"),
    quiet: Quiet = False,
) -> None:
    """Fit models of several sizes and structures, and print which are best by BIC, ICL and cross-validation."""
    with errors_as_one_line():
        models = split_names(model, MODELS, "--model")
        options = CandidateOptions(
            parse_counts(components, "--components"),
            covariance,
            parse_counts(latent, "--latent"),
            look_up(prior, PRIORS, "--prior"),
        )
        require_model_options(models, options)
        engine_built = look_up(engine, ENGINES, "--engine")()
        rows, *_ = read_rows(data, models, 0.0, seed)

        candidates = {
            label: model_for_engine(build_model(name, rows, own, None), name, engine)
            for name in models
            for label, own in candidate_options(
                name, options, rows.features, len(models) > 1, _has_covariance(name, rows)
            ).items()
        }
        require_selection_folder(out)
        selection = select_models(
            rows, candidates, engine_built,
            restarts=restarts, folds=folds or None, max_passes=max_passes, seed=seed, least_rows=least_rows,
            progress=not quiet and sys.stderr.isatty(),
        )  # fmt: skip
        table = selection.frame().to_csv(lineterminator="\n")
        figure = selection.plot() if selection.winners() else None
        out.mkdir(parents=True, exist_ok=True)
        (out / "selection.csv").write_text(table, encoding="utf-8")
        if figure is not None:
            figure.savefig(out / "selection.png", dpi=130, metadata={"Software": None})
        typer.echo(
            f"{selection}\n\nwritten: {out / 'selection.csv'}" + (", selection.png" if figure is not None else "")
        )


def _has_covariance(name: str, rows: Rows) -> bool:
    """Whether the model of that name has a covariance on these rows: a mixed one needs a column of measurements."""
    if "covariance" not in MODELS[name].options:
        return False
    model = build_model(name, rows, ModelOptions(components=1), None)
    return any(isinstance(part, Gaussian) for part in model.modules())


def require_selection_folder(out: Path) -> None:
    """Raise OSError, in one sentence, if the folder cannot be written to or holds a selection.csv of another kind."""
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"cannot write the selection to {out}: {there} is a file, expected a folder")
    require_writable(there, f"cannot write the selection to {out}")
    table = out / "selection.csv"
    if table.exists() and not table.read_bytes().startswith(HEADER):
        raise FileExistsError(f"cannot write the selection to {out}: it holds another selection.csv: choose a folder")

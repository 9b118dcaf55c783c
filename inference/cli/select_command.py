"""`lowerbound select`: which model, and how many components or latent dimensions."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ...data.write_files import require_writable, write_folder
from ...models import Gaussian, Rows
from ..criticism.select import select as select_models
from ..report.png import png
from .common_options import Data, Header, Kinds, LeastRows, MaxPasses, Models, Prior, Quiet, Seed
from .engines_by_name import ENGINES, model_for_engine
from .error_lines import errors_as_one_line
from .models_by_name import MODELS, PRIORS, ModelOptions, build_model, require_model_options
from .name_options import look_up, parse_kinds, split_names
from .output_files import require_not_input, starts_with
from .read_rows import read_rows
from .selection_candidates import COMPONENTS, CandidateOptions, candidate_options, parse_counts

FILES = ("selection.png", "selection.csv")
FIRST = 3  # at most so many components in the fit that says what columns hold: many can imitate any kind
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
    kinds: Kinds = None,
    header: Header = None,
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
            parse_kinds(kinds),
        )
        require_model_options(models, options)
        engine_built = look_up(engine, ENGINES, "--engine")()
        most = min(FIRST, max(options.components or COMPONENTS))
        read = read_rows(data, models, 0.0, seed, header, options.kinds, most)
        rows, options = read.rows, replace(options, kinds=read.kinds)

        candidates = {
            label: model_for_engine(build_model(name, rows, own, None), name, engine)
            for name in models
            for label, own in candidate_options(
                name, options, rows.features, len(models) > 1, _has_covariance(name, rows, options.kinds)
            ).items()
        }
        require_not_input([out / name for name in FILES], data)
        require_selection_folder(out)
        typer.echo(str(read), nl=False)
        selection = select_models(
            rows, candidates, engine_built,
            restarts=restarts, folds=folds or None, max_passes=max_passes, seed=seed, least_rows=least_rows,
            progress=not quiet and sys.stderr.isatty(),
        )  # fmt: skip
        files = {"selection.csv": selection.frame().to_csv(lineterminator="\n").encode()}
        if selection.winners():
            files["selection.png"] = png(selection.plot())
        write_folder(out, files, FILES)
        typer.echo(f"{selection}\n\nwritten: {out / 'selection.csv'}{', selection.png' * ('selection.png' in files)}")


def _has_covariance(name: str, rows: Rows, kinds: Any) -> bool:
    """Whether the model of that name has a covariance on these rows: a mixed one needs a column of measurements."""
    accepted = MODELS[name].options
    if "covariance" not in accepted:
        return False
    own = ModelOptions(components=1, kinds=kinds if "kinds" in accepted else None)
    model = build_model(name, rows, own, None)
    return any(isinstance(part, Gaussian) for part in model.modules())


def require_selection_folder(out: Path) -> None:
    """Raise OSError, in one sentence, if the folder cannot be written to, or holds files that are not of `select`."""
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"cannot write the selection to {out}: {there} is a file, expected a folder")
    require_writable(there, f"cannot write the selection to {out}")
    table = out / "selection.csv"
    own = table.is_file() and starts_with(table, HEADER)
    taken = [name for name in FILES if (out / name).exists()]
    if taken and not own:
        raise FileExistsError(
            f"cannot write the selection to {out}: it holds another {taken[0]}, which lowerbound did not write: choose "
            "another folder"
        )

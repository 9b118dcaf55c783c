"""`lowerbound select`: which model, and how many components, from the command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from .catalogue import ENGINES, MODELS, PRIORS, Choices, for_engine, listing, make, pick, require_taken, tables
from .common_options import Data, MaxPasses, Models, Prior, Quiet, Seed, plainly

COMPONENTS, LATENTS = (1, 2, 3, 4, 5), (1, 2, 3)  # by default
HEADER = b"candidate,log_likelihood,"  # of selection.csv, by which an earlier one is known
Counts = Annotated[
    str | None,
    typer.Option("--components", "-k", help="How many components, such as 1-5 or 2,3,8.", show_default="1-5"),
]
Covariances = Annotated[
    str | None,
    typer.Option(
        help="Of gaussian, student and mixed, comma-separated: full, tied, diag, spherical, tied-diag, tied-spherical.",
        show_default="full",
    ),
]
Latents = Annotated[str | None, typer.Option(help="Latent dimensions of ppca, such as 1-3.", show_default="1-3")]


@dataclass(frozen=True)
class Spans:
    """What the options say of all candidates, None where they say nothing: `Choices` with several sizes and shapes."""

    components: tuple[int, ...] | None
    covariance: str | None
    latent: tuple[int, ...] | None
    prior: str | None


def select(
    data: Data,
    model: Models = "gaussian",
    components: Counts = None,
    covariance: Covariances = None,
    latent: Latents = None,
    prior: Prior = "none",
    engine: Annotated[str, typer.Option(help=f"One of {', '.join(ENGINES)}.")] = "em",
    folds: Annotated[int, typer.Option(help="Parts for cross-validation; 0 leaves it out.")] = 5,
    restarts: Annotated[
        int, typer.Option(min=1, help="Independent starts of each fit, of which the best is kept.")
    ] = 10,
    max_passes: MaxPasses = 500,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="The folder for selection.csv and selection.png.")] = Path("report"),
    quiet: Quiet = False,
) -> None:
    """Fit models of several sizes and structures, print which are best by BIC, ICL and cross-validation."""
    with plainly():
        models = listing(model, MODELS, "--model")
        spans = Spans(
            numbers(components, "--components"), covariance, numbers(latent, "--latent"), pick(prior, PRIORS, "--prior")
        )
        require_taken(models, spans)
        made = pick(engine, ENGINES, "--engine")()
        rows, *_ = tables(data, models, 0.0, seed)

        from ..criticism.select import select as select_models

        candidates = {
            called: for_engine(make(name, rows, choices, None), name, engine)
            for name in models
            for called, choices in candidates_of(name, spans, rows.features, len(models) > 1).items()
        }
        require_own(out)
        selection = select_models(
            rows, candidates, made,
            restarts=restarts, folds=folds or None, max_passes=max_passes, seed=seed,
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


def numbers(said: str | None, option: str) -> tuple[int, ...] | None:
    """1-5 or 2,3,8 as numbers of at least 1, each once."""
    if said is None:
        return None
    found: list[int] = []
    try:
        for part in said.split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        found = []
    if not found or min(found) < 1 or len(set(found)) < len(found):
        raise ValueError(f"{option} is {said!r}, expected numbers such as 1-5 or 2,3,8")
    return tuple(found)


def candidates_of(model: str, spans: Spans, features: int, several: bool) -> dict[str, Choices]:
    """The choices of each candidate by its name, "full, K=2", with the model's in front where there are several."""
    takes = MODELS[model].takes
    prior = spans.prior if "prior" in takes else None
    front = [model] if several else []
    if "components" not in takes:
        sizes = spans.latent or [q for q in LATENTS if q < features] or [1]
        return {", ".join([*front, f"latent {q}"]): Choices(latent=q) for q in sizes}
    shapes = [shape.strip() for shape in (spans.covariance or "full").split(",")] if "covariance" in takes else [None]
    named = [[*front, shape] if shape is not None else front for shape in shapes]
    return {
        ", ".join([*words, f"K={k}"]): Choices(k, shape, prior)
        for words, shape in zip(named, shapes, strict=True)
        for k in spans.components or COMPONENTS
    }


def require_own(out: Path) -> None:
    """Raise OSError, in one sentence, if the folder cannot be written to, or holds another's selection.csv."""
    from ..report.write_report import probe

    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"cannot write the selection to {out}: {there} is a file, expected a folder")
    probe(there, f"cannot write the selection to {out}")
    table = out / "selection.csv"
    if table.exists() and not table.read_bytes().startswith(HEADER):
        raise FileExistsError(f"cannot write the selection to {out}: it holds another selection.csv: choose a folder")

"""Fit one model by one engine with the options of a command."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...models import Rows
from ..fitting.fit import fit
from ..fitting.fit_result import Fit
from .engines_by_name import ENGINES, EngineOptions
from .models_by_name import MODELS


def run_fit(
    name: str,
    model: Any,
    rows: Rows,
    engine: str,
    options: EngineOptions,
    *,
    restarts: int,
    max_passes: int,
    seed: int,
    quiet: bool,
    checkpoint: Path | None = None,
    least_rows: float | None = None,
) -> Fit:
    """The fit of a model, which is called `name` on the command line, with progress bars on a terminal."""
    if options.batch_size is None:
        options = replace(options, batch_size=MODELS[name].batch_size)
    return fit(
        model, rows, ENGINES[engine](options),
        restarts=restarts, max_passes=max_passes, seed=seed, progress=not quiet and sys.stderr.isatty(),
        checkpoint=checkpoint, least_rows=least_rows,
    )  # fmt: skip

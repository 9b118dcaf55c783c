"""The one door upwards: what a result does by code that stands above it, such as `Fit.save` and `Comparison.plot`.

Every other import in the package points down (`lint-imports` checks it). These are found by name when they are called,
and all of them are listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

UPWARD = {  # what is called: the module, inside lowerbound.inference, and the function that does it
    "Fit.save": "fitting.save_and_load:save",
    "Comparison.plot": "report.plots:figures",
    "Comparison.report": "report.write_report:write_report",
    "Comparison.__str__": "report.comparison_text:comparison_text",
    "Selection.plot": "report.plots.selection_figure:selection_figure",
    "Selection.__str__": "report.selection_text:selection_text",
}


def upward(name: str) -> Callable[..., Any]:
    """The function that does what `name`, a key of `UPWARD`, is called for."""
    module, _, function = UPWARD[name].partition(":")
    return getattr(import_module(f"{__package__}.{module}"), function)

"""The list of all calls from a lower layer to a higher one, such as `Fit.save` and `Comparison.plot`.

A result stands below the code that saves, prints or draws it, so that it cannot import that code: every import in the
package points down, as `lint-imports` checks. Its methods find the function by name when they are called, by `upward`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

UPWARD = {  # method: module inside lowerbound.inference, and its function
    "Fit.save": "fitting.save_and_load:save",
    "Comparison.plot": "report.plots:figures",
    "Comparison.report": "report.write_report:write_report",
    "Comparison.__str__": "report.comparison_text:comparison_text",
    "Selection.plot": "report.plots.selection_figure:selection_figure",
    "Selection.__str__": "report.selection_text:selection_text",
}


def upward(name: str) -> Callable[..., Any]:
    """The function behind a method, by its name in `UPWARD`."""
    module, _, function = UPWARD[name].partition(":")
    return vars(import_module(f"{__package__}.{module}"))[function]

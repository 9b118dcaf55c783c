"""How kernels are compiled: numba's options, and when the compiled code that is kept on disk is out of date."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit


def kernel(fastmath: set[str]) -> Callable[[Callable], Any]:
    """A decorator that compiles at the first call, and keeps the code on disk where that can be written to."""
    options = {"fastmath": fastmath, "error_model": "numpy", "nogil": True}

    def decorate(function: Callable) -> Any:
        try:
            compiled = njit(cache=True, **options)(function)
        except RuntimeError:  # there is no folder for it
            return njit(**options)(function)
        _depend_on_all_files(compiled)
        return compiled

    return decorate


def sources(folder: Path) -> str:
    """A hash of all source files of a folder."""
    found = sha256()
    for file in sorted(folder.glob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()


SOURCES = sources(Path(__file__).parent)


def _depend_on_all_files(compiled: Any) -> None:
    """Compile again when any file of this folder has changed.

    numba itself compares only the file of the function, but the code on disk holds what it calls from the others, too.
    """
    with suppress(AttributeError):  # numba's own attributes: if they change, a test fails
        file = compiled._cache._cache_file
        file._source_stamp = (file._source_stamp, SOURCES)


fast = kernel({"contract", "reassoc", "nsz"})  # sums may be reordered, but NaN and infinity are kept

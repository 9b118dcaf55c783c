"""What libraries need of the names of files, and what they say when they cannot read one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def utf8_name(path: Path) -> Iterator[Path]:
    """A name of an existing file for libraries that take UTF-8 alone: its own, or a link to it during the body.

    Names that are not UTF-8 come from systems of before, such as Latin-1.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / "link"
            link.symlink_to(os.path.abspath(path))
            yield link
        return
    yield path


def short_reason(error: Exception) -> str:
    """What a library says about a file: the first line, without those about its own code."""
    return str(error).strip().partition("\n")[0] or type(error).__name__

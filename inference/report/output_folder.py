"""Checks that a folder can be written to, before a fit is made."""

from __future__ import annotations

import uuid
from pathlib import Path


def require_writable(folder: Path, complaint: str) -> None:
    """Raise OSError, "complaint: why", if nothing can be written to a folder that exists."""
    trial = folder / f".lowerbound.{uuid.uuid4().hex[:8]}"
    try:
        trial.mkdir()  # asked of the file system itself: permission bits say nothing to root or to a read-only disk
        trial.rmdir()
    except OSError as error:
        raise type(error)(f"{complaint}: {error.strerror or error}") from error
